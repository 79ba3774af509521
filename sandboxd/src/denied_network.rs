//! A refusal of the firewall or the resolver, as it is told: like any other refused call, with the layer and the line of
//! the manifest that would allow it.
//!
//! What an app chose here is the peer, which `bus::network_link` has bounded and made printable.

use bus::network_link::{Act, Refusal};

/// `connect errno=EPERM by=firewall peer="192.0.2.7" port=443/tcp allow="…"`
pub(crate) fn told(refusal: &Refusal) -> String {
    let (call, errno) = match refusal.act {
        Act::Connect => ("connect", " errno=EPERM"),
        Act::Send => ("sendto", " errno=EPERM"),
        Act::Listen => ("bind", " errno=EPERM"),
        Act::Resolve => ("resolve", ""),
    };
    let mut text = format!("{call}{errno} by=firewall");
    // A quotation mark would end the word early; no host or address has one.
    let plain = |text: &str| text.replace('"', "'");
    if !refusal.peer.is_empty() {
        text.push_str(&format!(" peer=\"{}\"", plain(&refusal.peer)));
    }
    if refusal.port != 0 {
        text.push_str(&format!(" port={}/{}", refusal.port, if refusal.udp { "udp" } else { "tcp" }));
    }
    if !refusal.allow.is_empty() {
        text.push_str(&format!(" allow=\"{}\"", plain(&refusal.allow)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_told_names_layer_peer_and_line() {
        let mut refusal = Refusal {
            uid: 1,
            act: Act::Connect,
            peer: "192.0.2.7".to_owned(),
            port: 443,
            udp: false,
            count: 1,
            allow: "connect = [\"192.0.2.7:443/tcp\"]".to_owned(),
        };
        let text = "connect errno=EPERM by=firewall peer=\"192.0.2.7\" port=443/tcp allow=\"connect = ['192.0.2.7:443/tcp']\"";
        assert_eq!(told(&refusal), text);
        refusal = Refusal { act: Act::Resolve, port: 0, allow: String::new(), ..refusal };
        assert_eq!(told(&refusal), "resolve by=firewall peer=\"192.0.2.7\"");
    }
}
