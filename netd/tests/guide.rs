//! What the guide says of `network.toml` is what is read.

#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use netd::config::Config;

#[test]
fn configuration_of_the_guide_is_understood_whole() {
    let guide = include_str!("../../docs/network.md");
    let text = guide.split("```toml network.toml\n").nth(1).unwrap();
    let text = text.split("```").next().unwrap();
    // Of the certificates the guide shows the place alone.
    let whole = format!("\"\"\"{}\"\"\"", include_str!("certificates/ca.pem"));
    let config: Config = text.replace("\"\"\"...\"\"\"", &whole).parse().unwrap();
    assert_eq!((config.links.len(), config.dns.servers.len(), config.announce), (2, 1, true));
    assert!(!config.links[0].dhcp4, "a fixed address is instead of DHCP");
    assert!(config.links[0].ipv6 && config.links[1].dhcp4 && !config.links[1].ipv6);
    assert_eq!(config.host_name.as_deref(), Some("pump-7"));
    assert_eq!(config.time.servers.len(), 1);
}
