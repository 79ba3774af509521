//! Links against real DHCP servers: dnsmasq and busybox's udhcpd, over a cable between two network namespaces of the test.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netd::config::Config;
use netd::link;
use netd::state::{Link, NetState, Stage};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// The thread's own namespace, and a cable to one with servers.
struct Site {
    name: String,
    folder: TempDir,
    servers: Vec<Child>,
}

impl Site {
    fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace: the tests run as root")?;
        let folder = tempfile::tempdir()?;
        let name =
            format!("gabion-dhcp-{}", folder.path().file_name().unwrap().to_string_lossy().replace('.', ""));
        let site = Self { name, folder, servers: Vec::new() };
        let name = &site.name;
        run(&format!(
            "ip netns add {name}
             ip link set lo up
             echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter
             ip link add cable type veth peer name cable netns {name}
             ip -n {name} addr add 10.9.0.1/24 dev cable
             ip netns exec {name} sysctl -q -w net.ipv6.conf.cable.keep_addr_on_down=1
             # A namespace begins with what the machine has set: this one answers for each of its addresses.
             ip netns exec {name} sysctl -q -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0
             ip -n {name} -6 addr add fd09::1/64 dev cable nodad
             ip -n {name} link set lo up"
        ))?;
        Ok(site)
    }

    /// The other end of the cable is plugged in, or pulled.
    fn plug(&self, up: bool) -> Result<()> {
        run(&format!("ip -n {} link set cable {}", self.name, if up { "up" } else { "down" }))
    }

    fn serve(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(arguments).stdin(Stdio::null());
        self.servers
            .push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context(program.to_owned())?);
        Ok(())
    }

    fn dnsmasq(&mut self, more: &[&str]) -> Result<()> {
        let lease = format!("--dhcp-leasefile={}/leases", self.folder.path().display());
        let base = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--interface=cable",
            "--bind-interfaces",
            "--pid-file=",
            &lease,
            "--dhcp-range=10.9.0.50,10.9.0.60,255.255.255.0,2m",
            "--dhcp-option=option:ntp-server,10.9.0.3",
        ];
        self.serve("dnsmasq", &[&base, more].concat())
    }

    fn end_servers(&mut self) {
        for mut server in self.servers.drain(..) {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.end_servers();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn run(script: &str) -> Result<()> {
    let status = Command::new("sh").args(["-ec", script]).status().context("sh")?;
    ensure!(status.success(), "{script}");
    Ok(())
}

/// Runs `scene` beside the part that looks after links.
fn beside<F: Future<Output = Result<()>>>(
    config: &str,
    scene: impl FnOnce(watch::Receiver<NetState>, watch::Sender<Config>) -> F,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = watch::Sender::new(config.parse::<Config>()?);
    LocalSet::new().block_on(&runtime, async {
        let state = watch::Sender::new(NetState::default());
        let seen = state.subscribe();
        let links = spawn_local(link::run(config.subscribe(), state, ipv6));
        let told = scene(seen, config.clone()).await;
        links.abort();
        told
    })
}

/// What sandboxd does, in the test's own namespace.
fn ipv6(link: &str, on: bool) {
    let setting = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    std::fs::write(setting, if on { "0" } else { "1" }).unwrap();
}

/// Waits until the cable is as wanted.
async fn until(
    seen: &mut watch::Receiver<NetState>,
    what: &str,
    wanted: impl Fn(&Link, &NetState) -> bool,
) -> Result<Link> {
    let found =
        |net: &NetState| net.links.iter().find(|link| link.name == "cable" && wanted(link, net)).cloned();
    let waited = timeout(PATIENCE, seen.wait_for(|net| found(net).is_some()))
        .await
        .map(|net| net.map(|net| found(&net)));
    match waited {
        Ok(net) => net?.context("gone"),
        Err(_) => anyhow::bail!("{what}: {:?}", seen.borrow()),
    }
}

fn leased(link: &Link) -> Option<Ipv4Addr> {
    link.addresses.iter().find_map(|(address, prefix)| match address {
        IpAddr::V4(address) if *prefix == 24 && address.octets()[3] >= 50 => Some(*address),
        _ => None,
    })
}

#[test]
fn link_gets_address_route_and_servers_and_keeps_them_over_a_pulled_cable() -> Result<()> {
    let mut site = Site::new()?;
    site.dnsmasq(&["--enable-ra", "--dhcp-range=fd09::,ra-only,64"])?;
    beside("", |mut seen, _| async move {
        until(&mut seen, "no carrier", |link, _| link.missing == Some(Stage::Link)).await?;
        site.plug(true)?;
        let link =
            until(&mut seen, "address", |link, net| leased(link).is_some() && !net.name_servers.is_empty())
                .await?;
        let router = IpAddr::from([10, 9, 0, 1]);
        let link = if link.gateways.contains(&router) {
            link
        } else {
            until(&mut seen, "route", |link, _| link.gateways.contains(&router)).await?
        };
        assert_eq!(seen.borrow().name_servers.first(), Some(&router));
        assert_eq!(seen.borrow().time_servers, [Ipv4Addr::new(10, 9, 0, 3)]);
        until(&mut seen, "IPv6", |link, _| {
            link.addresses.iter().any(|(at, _)| at.to_string().starts_with("fd09:"))
        })
        .await?;
        let first = leased(&link);
        site.plug(false)?;
        let pulled = until(&mut seen, "pulled", |link, _| link.missing == Some(Stage::Link)).await?;
        assert_eq!(leased(&pulled), first, "what is under way lives on");
        site.plug(true)?;
        let again =
            until(&mut seen, "again", |link, _| link.missing.is_none() && leased(link).is_some()).await?;
        assert_eq!(leased(&again), first);
        Ok(())
    })
}

#[test]
fn lease_of_udhcpd_is_renewed_though_somebody_has_port_68_and_over_when_nobody_renews_it() -> Result<()> {
    let mut site = Site::new()?;
    let _somebody = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))?;
    site.plug(true)?;
    let configuration = site.folder.path().join("udhcpd.conf");
    let leases = site.folder.path().join("udhcpd.leases");
    std::fs::write(&leases, "")?;
    let text = format!(
        "start 10.9.0.50\nend 10.9.0.60\ninterface cable\nmin_lease 1\nauto_time 1\nlease_file {}\npidfile {}/pid\n\
         option subnet 255.255.255.0\noption router 10.9.0.1\noption dns 10.9.0.1\noption lease 12\n\
         option staticroutes 10.20.0.1/25 10.9.0.1, 0.0.0.0/0 10.9.0.1\n",
        leases.display(),
        site.folder.path().display()
    );
    std::fs::write(&configuration, text)?;
    site.serve("busybox", &["udhcpd", "-f", configuration.to_str().unwrap()])?;
    beside("", |mut seen, _| async move {
        let link = until(&mut seen, "address", |link, _| leased(link).is_some() && !link.gateways.is_empty())
            .await?;
        let first = leased(&link);
        // Longer than a lease: it was renewed, and never gone.
        let kept = timeout(
            Duration::from_secs(16),
            seen.wait_for(|net| !net.links.iter().any(|link| link.name == "cable" && leased(link) == first)),
        )
        .await
        .is_err();
        ensure!(kept, "it was lost: {:?}", seen.borrow());
        site.end_servers();
        until(&mut seen, "over", |link, _| leased(link).is_none() && link.missing == Some(Stage::Address))
            .await?;
        Ok(())
    })
}

#[test]
fn two_links_get_an_address_each_of_their_own_network() -> Result<()> {
    let mut site = Site::new()?;
    run(&format!(
        "ip link add other type veth peer name other netns {0}
         ip -n {0} addr add 10.8.0.1/24 dev other
         ip -n {0} link set other up",
        site.name
    ))?;
    site.dnsmasq(&["--interface=other", "--dhcp-range=10.8.0.50,10.8.0.60,255.255.255.0,2m", "--no-ping"])?;
    site.plug(true)?;
    let served = |net: &NetState, name: &str, network: u8| {
        net.links.iter().any(|link| {
            let octets = leased(link).map(|address| address.octets());
            let routed = link.gateways.contains(&IpAddr::from([10, network, 0, 1]));
            link.name == name && octets.is_some_and(|octets| octets[1] == network) && routed
        })
    };
    beside("", |mut seen, _| async move {
        let both = |_: &Link, net: &NetState| served(net, "cable", 9) && served(net, "other", 8);
        until(&mut seen, "both", both).await?;
        Ok(())
    })
}

#[test]
fn address_that_somebody_has_is_declined_and_another_is_used() -> Result<()> {
    let mut site = Site::new()?;
    // The first that is offered.
    run(&format!("ip -n {} addr add 10.9.0.50/32 dev lo", site.name))?;
    let log = site.folder.path().join("log");
    let facility = format!("--log-facility={}", log.display());
    site.dnsmasq(&["--no-ping", "--dhcp-sequential-ip", "--log-dhcp", &facility])?;
    site.plug(true)?;
    beside("", |mut seen, _| async move {
        let link = until(&mut seen, "address", |link, _| leased(link).is_some()).await?;
        let said = std::fs::read_to_string(&log)?;
        assert_eq!(leased(&link), Some(Ipv4Addr::new(10, 9, 0, 51)), "{said}");
        ensure!(said.contains("DHCPDECLINE(cable) 10.9.0.50"), "{said}");
        Ok(())
    })
}

#[test]
fn address_that_somebody_takes_later_is_given_up_and_another_is_used() -> Result<()> {
    let mut site = Site::new()?;
    site.dnsmasq(&["--no-ping", "--dhcp-sequential-ip"])?;
    site.plug(true)?;
    beside("", |mut seen, _| async move {
        let link = until(&mut seen, "address", |link, _| leased(link).is_some()).await?;
        let first = leased(&link).context("an address")?;
        run(&format!("ip -n {} addr add {first}/32 dev lo", site.name))?;
        // It asks for a host that is not there, each second, as the one with our address.
        let mut asking = Command::new("ip");
        asking.args(["netns", "exec", &site.name, "busybox", "ping", "-I", &first.to_string(), "10.9.0.200"]);
        site.servers.push(asking.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        until(&mut seen, "given up", |link, _| leased(link).is_none()).await?;
        until(&mut seen, "another", |link, _| leased(link).is_some_and(|at| at != first)).await?;
        Ok(())
    })
}

#[test]
fn link_with_fixed_addresses_asks_nobody_and_changes_with_its_configuration() -> Result<()> {
    let mut site = Site::new()?;
    site.dnsmasq(&[])?;
    site.plug(true)?;
    let fixed = "[[link]]\nmatch = \"cable\"\naddresses = [\"10.9.0.9/24\", \"fd09::9/64\"]\ngateway = \"10.9.0.1\"\n";
    beside(fixed, |mut seen, config| async move {
        let link =
            until(&mut seen, "fixed", |link, _| link.addresses.len() >= 2 && !link.gateways.is_empty())
                .await?;
        ensure!(
            link.addresses.contains(&(IpAddr::from([10, 9, 0, 9]), 24)) && leased(&link).is_none(),
            "{link:?}"
        );
        assert!(seen.borrow().name_servers.is_empty());
        config.send_replace(Config::default());
        until(&mut seen, "by DHCP", |link, _| {
            let gone = |at: &str| !link.addresses.iter().any(|(address, _)| address.to_string() == at);
            leased(link).is_some() && gone("10.9.0.9") && gone("fd09::9") && link.gateways.len() == 1
        })
        .await?;
        Ok(())
    })
}

#[test]
fn name_server_of_a_router_is_known_and_again_after_a_restart_and_not_without_a_carrier() -> Result<()> {
    let mut site = Site::new()?;
    site.plug(true)?;
    // Without DHCPv4; advertisements are rare.
    site.serve(
        "dnsmasq",
        &[
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--interface=cable",
            "--bind-interfaces",
            "--pid-file=",
            "--enable-ra",
            "--ra-param=cable,600,1800",
            "--dhcp-range=fd09::,ra-only,64",
            "--dhcp-option=option6:dns-server,[fd09::1],[fe80::1]",
        ],
    )?;
    let server = IpAddr::from([0xfd09, 0, 0, 0, 0, 0, 0, 1]);
    for run in ["first", "second"] {
        beside("", |mut seen, _| async move {
            until(&mut seen, run, |_, net| net.name_servers == [server]).await?;
            Ok(())
        })?;
    }
    beside("", |mut seen, _| async move {
        until(&mut seen, "third", |_, net| net.name_servers == [server]).await?;
        site.plug(false)?;
        until(&mut seen, "pulled", |_, net| net.name_servers.is_empty()).await?;
        site.plug(true)?;
        until(&mut seen, "plugged in", |_, net| net.name_servers == [server]).await?;
        Ok(())
    })
}

#[test]
fn ipv6_that_is_off_is_off_and_comes_back() -> Result<()> {
    let mut site = Site::new()?;
    site.plug(true)?;
    site.dnsmasq(&["--enable-ra", "--dhcp-range=fd09::,ra-only,64"])?;
    let has_ipv6 = |link: &Link| {
        link.addresses.iter().any(|(at, _)| at.is_ipv6()) || link.gateways.iter().any(IpAddr::is_ipv6)
    };
    beside("", |mut seen, config| async move {
        let both = |link: &Link, _: &NetState| leased(link).is_some() && link.gateways.len() == 2;
        until(&mut seen, "both", both).await?;
        config.send_replace("[[link]]\nmatch = \"cable\"\nipv6 = \"off\"\n".parse()?);
        until(&mut seen, "off", |link, _| !has_ipv6(link) && leased(link).is_some()).await?;
        config.send_replace(Config::default());
        until(&mut seen, "on again", both).await?;
        Ok(())
    })
}

#[test]
fn what_left_the_configuration_while_nobody_looked_is_removed() -> Result<()> {
    let site = Site::new()?;
    site.plug(true)?;
    let fixed = "[[link]]\nmatch = \"cable\"\naddresses = [\"10.9.0.9/24\", \"fd09::9/64\"]\ngateway = \"10.9.0.1\"\n";
    beside(fixed, |mut seen, _| async move {
        until(&mut seen, "fixed", |link, _| link.addresses.len() >= 3 && !link.gateways.is_empty()).await?;
        Ok(())
    })?;
    let other = "[[link]]\nmatch = \"cable\"\naddresses = [\"10.9.0.8/24\"]\n";
    beside(other, |mut seen, _| async move {
        until(&mut seen, "the other", |link, _| {
            let fixed = link.addresses.iter().filter(|(address, _)| !address.to_string().starts_with("fe80"));
            fixed.map(|(address, _)| address.to_string()).eq(["10.9.0.8"]) && link.gateways.is_empty()
        })
        .await?;
        Ok(())
    })
}

#[test]
fn address_by_dhcp_outlives_its_client_and_is_asked_for_again_by_name() -> Result<()> {
    let mut site = Site::new()?;
    let log = site.folder.path().join("log");
    let facility = format!("--log-facility={}", log.display());
    site.dnsmasq(&["--no-ping", &facility])?;
    site.plug(true)?;
    let mut first = None;
    beside("", |mut seen, _| {
        let first = &mut first;
        async move {
            *first = leased(&until(&mut seen, "address", |link, _| leased(link).is_some()).await?);
            Ok(())
        }
    })?;
    let before = std::fs::read_to_string(&log)?;
    beside("[dhcp]\nhost_name = \"pump-7\"\n", |mut seen, _| async move {
        let link = until(&mut seen, "at once", |link, _| leased(link).is_some()).await?;
        assert_eq!(leased(&link), first, "it is still there");
        until(&mut seen, "confirmed", |_, net| !net.name_servers.is_empty()).await?;
        assert_eq!(leased(&until(&mut seen, "kept", |_, _| true).await?), first);
        Ok(())
    })?;
    let all = std::fs::read_to_string(&log)?;
    let (asked, since) = (before.matches("DHCPDISCOVER").count(), all.matches("DHCPDISCOVER").count());
    ensure!(asked == since && all.matches("DHCPACK").count() >= 2, "{all}");
    ensure!(!before.contains("pump-7") && all.contains("pump-7"), "{all}");
    Ok(())
}

#[test]
fn address_by_dhcp_that_is_refused_after_a_restart_goes_at_once() -> Result<()> {
    let mut site = Site::new()?;
    site.dnsmasq(&["--no-ping"])?;
    site.plug(true)?;
    beside("", |mut seen, _| async move {
        until(&mut seen, "address", |link, _| leased(link).is_some()).await?;
        Ok(())
    })?;
    site.end_servers();
    std::fs::remove_file(site.folder.path().join("leases"))?;
    // The network was given other addresses.
    run(&format!(
        "ip -n {0} addr del 10.9.0.1/24 dev cable; ip -n {0} addr add 10.19.0.1/24 dev cable",
        site.name
    ))?;
    site.dnsmasq(&[
        "--no-ping",
        "--dhcp-authoritative",
        "--dhcp-range=10.19.0.50,10.19.0.60,255.255.255.0,2m",
    ])?;
    beside("", |mut seen, _| async move {
        let link = until(&mut seen, "another", |link, _| {
            leased(link).is_some_and(|address| address.octets()[1] == 19) && !link.gateways.is_empty()
        })
        .await?;
        let of_before = |address: &IpAddr| address.to_string().starts_with("10.9.");
        ensure!(!link.addresses.iter().any(|(address, _)| of_before(address)), "{link:?}");
        assert_eq!(link.gateways, [IpAddr::from([10, 19, 0, 1])]);
        Ok(())
    })
}
