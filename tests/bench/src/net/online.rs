//! From a plugged cable to a usable network: an address, a name that is answered, the time.
//!
//! `netd`'s own code against systemd-networkd and dhcpcd, in turn in one run, each in a fresh namespace on the same link, with
//! the same servers: dnsmasq, which does not look first whether an address is free, and chronyd. Each runs and waits when the
//! cable is plugged in. A time and a name are no part of the others: there this program asks once for each as soon as there is
//! an address, which is the least that any companion of theirs could take.
//!
//! `netd` asks the link whether somebody has its address before it uses it (RFC 5227); so does dhcpcd, and networkd if
//! `SendDecline=yes`. The bars are against these; what networkd takes without is printed beside them. No clock is set: `netd`
//! has a model of one.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use device_test::site::namespace::Namespace;
use netd::config::Config;
use netd::dns::reply::Extra;
use netd::dns::{self, Kind, Resolver};
use netd::policies::Policies;
use netd::state::NetState;
use netd::{link, time};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::stat::{Samples, bar_of_ratio, not_measured};

const DHCPCD: &str = "/usr/sbin/dhcpcd";
const NETWORKD: &str = "/lib/systemd/systemd-networkd";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// A name that the server knows.
const NAME: &str = "host.example";
/// What is started is ready then, and waits.
const SETTLED: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked at: less than a hundredth of what is measured.
const LOOK: Duration = Duration::from_millis(1);

/// Measures and reports.
pub(super) fn run(dir: &Path, rounds: usize) -> Result<()> {
    for (bar, program) in [("net_up_vs_networkd", NETWORKD), ("net_up_vs_dhcpcd", DHCPCD)] {
        if !Path::new(program).exists() {
            not_measured(bar, &format!("no {program} here"));
            return Ok(());
        }
    }
    println!("net: from a plugged cable to address, names and time, {rounds} rounds in turn");
    let site = Site::new(dir)?;
    let mut all: [Samples; 5] = Default::default();
    let [ours, address, probing, plain, other] = &mut all;
    for round in 0..rounds {
        let times = netd(&site, &format!("a{round}"))?;
        address.push(times.address_us);
        ours.push(times.all_us);
        probing.push(networkd(&site, &format!("b{round}"), true)?.all_us);
        plain.push(networkd(&site, &format!("c{round}"), false)?.all_us);
        other.push(dhcpcd(&site, &format!("d{round}"))?.all_us);
    }
    ours.print("netd");
    address.print("of that, until there is an address");
    probing.print("networkd that asks whether the address is free");
    plain.print("networkd that does not");
    other.print("dhcpcd");
    bar_of_ratio("net_up_vs_networkd", ours, probing, 1.3);
    bar_of_ratio("net_up_vs_dhcpcd", ours, other, 1.3);
    println!("  net_up_vs_networkd: {:.2} of networkd that does not ask", ours.ratio(plain));
    Ok(())
}

/// From the plug, µs.
struct Times {
    address_us: f64,
    all_us: f64,
}

/// The servers, and a bridge that cables lead to.
struct Site {
    namespace: Namespace,
    folder: PathBuf,
    servers: Vec<Running>,
}

impl Site {
    fn new(dir: &Path) -> Result<Self> {
        let mut site = Self { namespace: Namespace::new()?, folder: dir.to_owned(), servers: Vec::new() };
        site.namespace.inside(|| {
            ip("link set lo up")?;
            ip("link add br0 type bridge")?;
            ip(&format!("addr add {SERVER}/16 dev br0"))?;
            ip("link set br0 up")
        })?;
        let leases = format!("--dhcp-leasefile={}", dir.join("leases").display());
        let name = format!("--host-record={NAME},192.0.2.7");
        let time = format!("--dhcp-option=option:ntp-server,{SERVER}");
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
        dnsmasq.args(["--user=root", "--interface=br0", "--bind-interfaces", "--pid-file=", "--no-ping"]);
        dnsmasq.args(["--dhcp-range=10.9.1.1,10.9.9.250,255.255.0.0,1h", &leases, &name, &time]);
        site.serve(dnsmasq)?;
        let configuration = dir.join("chronyd.conf");
        let text = format!(
            "local stratum 3\nallow\nbindaddress {SERVER}\ncmdport 0\nbindcmdaddress /\npidfile {}\n",
            dir.join("chronyd.pid").display()
        );
        std::fs::write(&configuration, text)?;
        let mut chronyd = Command::new("chronyd");
        chronyd.args(["-x", "-d", "-u", "root", "-f"]).arg(&configuration);
        site.serve(chronyd)?;
        sleep(SETTLED);
        Ok(site)
    }

    fn serve(&mut self, mut command: Command) -> Result<()> {
        let server = self.namespace.inside(|| Running::new(&mut command))?;
        self.servers.push(server);
        Ok(())
    }

    /// A namespace with a cable to the servers that is not plugged in yet, `port` on their side.
    fn device(&self, port: &str) -> Result<Device> {
        let namespace = Namespace::new()?;
        let mut idle = Command::new("sleep");
        let anchor = namespace.inside(|| {
            ip("link set lo up")?;
            Running::new(idle.arg("infinity"))
        })?;
        self.namespace.inside(|| {
            ip(&format!("link add {port} type veth peer name cable netns {}", anchor.0.id()))?;
            ip(&format!("link set {port} master br0"))
        })?;
        Ok(Device { namespace, _anchor: anchor })
    }

    fn plug(&self, port: &str) -> Result<Instant> {
        let now = Instant::now();
        self.namespace.inside(|| ip(&format!("link set {port} up")))?;
        Ok(now)
    }
}

struct Device {
    namespace: Namespace,
    /// Somebody who lives there, by whose number it is found.
    _anchor: Running,
}

/// A process that ends with this.
struct Running(Child);

impl Running {
    fn new(command: &mut Command) -> Result<Self> {
        let what = format!("{:?}", command.get_program());
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context(what)?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(words: &str) -> Result<()> {
    let status = Command::new("ip").args(words.split(' ')).status().context("ip")?;
    ensure!(status.success(), "ip {words}");
    Ok(())
}

/// `netd`'s own parts, joined as its daemon joins them.
fn netd(site: &Site, port: &str) -> Result<Times> {
    let device = site.device(port)?;
    let (report, reported) = mpsc::channel();
    let worker = spawn(move || {
        device.namespace.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, async {
                tokio::time::timeout(PATIENCE, joined(&report)).await.context("no network")?
            })
        })
    });
    measure(site, port, &reported, worker)
}

/// What a device tells: that it waits, then when there was an address, and when there was everything.
type Report = mpsc::Sender<Instant>;

fn measure(
    site: &Site,
    port: &str,
    reported: &mpsc::Receiver<Instant>,
    worker: JoinHandle<Result<()>>,
) -> Result<Times> {
    let next = || reported.recv_timeout(PATIENCE).context("nothing was measured");
    let measured = next().and_then(|_| {
        sleep(SETTLED);
        let plugged = site.plug(port)?;
        let us = |at: Instant| at.duration_since(plugged).as_secs_f64() * 1e6;
        Ok(Times { address_us: us(next()?), all_us: us(next()?) })
    });
    worker.join().map_err(|_| anyhow!("the measured side ended"))??;
    measured
}

async fn joined(report: &Report) -> Result<()> {
    let net = watch::Sender::new(NetState::default());
    let (config, names) =
        (watch::Sender::new(Config::default()), watch::Sender::new(dns::Settings::default()));
    let resolver =
        Resolver::new(names.subscribe(), net.subscribe(), Rc::new(Policies::default()), Box::new(|_| ()));
    let (settings, floor_s) = (watch::Sender::new(time::Settings::default()), watch::Sender::new(0));
    let inputs = time::Inputs {
        settings: settings.subscribe(),
        floor_s: floor_s.subscribe(),
        net: net.subscribe(),
        roots: dns::transport::public_roots(),
        built_s: sys::time::BUILT_S,
    };
    let outputs = time::Outputs {
        state: watch::Sender::new(time::TimeState::default()),
        keep_s: watch::Sender::new(0),
    };
    let mut known = outputs.state.subscribe();
    let mut seen = net.subscribe();
    let links = spawn_local(link::run(config.subscribe(), net, |_, _| ()));
    let clock =
        spawn_local(async move { time::run(inputs, &outputs, &mut Model::default(), &NoNames).await });
    report.send(Instant::now())?;
    let cable = |net: &NetState| net.links.iter().any(|link| link.name == "cable" && link.missing.is_none());
    seen.wait_for(cable).await?;
    report.send(Instant::now())?;
    while resolver.lookup(NAME, Kind::A).await.is_empty() {
        tokio::time::sleep(LOOK).await;
    }
    known.wait_for(|time| time.source == time::Source::Network).await?;
    report.send(Instant::now())?;
    links.abort();
    clock.abort();
    Ok(())
}

/// A clock that shows this machine's time, and that nobody synchronised.
#[derive(Default)]
struct Model(Cell<bool>);

impl time::Clock for Model {
    fn now(&self) -> io::Result<time::Now> {
        Ok(time::Now { local_ns: sys::time::clock::raw_ns()?, real_ns: sys::time::clock::realtime_ns()? })
    }

    fn is_synchronised(&self) -> bool {
        self.0.get()
    }

    fn step(&mut self, _offset_ns: i64, error_ns: Option<i64>) -> io::Result<()> {
        self.0.set(error_ns.is_some());
        Ok(())
    }

    fn slew(&mut self, _offset_ns: i64, _error_ns: i64, _interval_log2_s: u8) -> io::Result<()> {
        self.0.set(true);
        Ok(())
    }
}

/// Servers are known by address.
struct NoNames;

impl time::Lookup for NoNames {
    fn lookup<'a>(&'a self, _name: &'a str) -> Pin<Box<dyn Future<Output = Vec<IpAddr>> + 'a>> {
        Box::pin(async { Vec::new() })
    }
}

/// systemd's, which needs a `/run` of its own and must not wait for udev: it does not where `/sys` is read-only.
fn networkd(site: &Site, port: &str, probing: bool) -> Result<Times> {
    let device = site.device(port)?;
    let place = site.folder.join(port);
    let decline = if probing { "yes" } else { "no" };
    let script = format!(
        "mkdir -p {0}/systemd/network {0}/systemd/netif/links {0}/systemd/netif/leases {0}/systemd/netif/lldp\n\
         mount --bind {0} /run\n\
         printf '[Match]\\nName=cable\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\n\
         [DHCPv4]\\nSendDecline={decline}\\n' > /run/systemd/network/cable.network\n\
         chown -R systemd-network /run/systemd/netif\n\
         mount -t sysfs -o ro sysfs /sys\n\
         exec {NETWORKD}",
        place.display()
    );
    // It keeps a file for each link that it knows, the cable and the loopback.
    let links = place.join("systemd/netif/links");
    watched(site, port, device, script, move || {
        std::fs::read_dir(&links).is_ok_and(|links| links.count() >= 2)
    })
}

/// As it comes, but for what it would do to this machine's names and host name. It needs a `/run` of its own as well.
fn dhcpcd(site: &Site, port: &str) -> Result<Times> {
    let device = site.device(port)?;
    let place = site.folder.join(port);
    let script = format!(
        "mkdir -p {0}/dhcpcd {0}/lib\n\
         printf 'ipv4only\nnohook resolv.conf,hostname,timesyncd\noption ntp_servers\n' > {0}/conf\n\
         mount --bind {0}/lib /var/lib/dhcpcd\n\
         mount --bind {0} /run\n\
         exec {DHCPCD} --nobackground --config /run/conf cable",
        place.display()
    );
    let begun = place.join("dhcpcd/cable.pid");
    watched(site, port, device, script, move || begun.exists())
}

/// Measures what a script becomes, from when it is `ready`.
fn watched(
    site: &Site,
    port: &str,
    device: Device,
    script: String,
    ready: impl Fn() -> bool + Send + 'static,
) -> Result<Times> {
    let (report, reported) = mpsc::channel();
    let worker = spawn(move || {
        device.namespace.inside(|| {
            let mut command = Command::new("unshare");
            let _running = Running::new(command.args(["--mount", "sh", "-ec", &script]))?;
            watch_from_outside(ready, &report)
        })
    });
    measure(site, port, &reported, worker)
}

fn watch_from_outside(ready: impl Fn() -> bool, report: &Report) -> Result<()> {
    let begun = Instant::now();
    let patient = || {
        sleep(LOOK);
        ensure!(begun.elapsed() < PATIENCE, "it gives no network");
        Ok(())
    };
    while !ready() {
        patient()?;
    }
    report.send(Instant::now())?;
    let ask = |port: u16, question: &[u8]| -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((SERVER, port))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        socket.send(question)?;
        socket.recv(&mut [0; 512]).map(|_| ())
    };
    let has_way = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.connect((SERVER, 53));
    while has_way().is_err() {
        patient()?;
    }
    report.send(Instant::now())?;
    let mut time = [0; 48];
    time[0] = 0x23;
    for (port, question) in
        [(53, &dns::reply::question(7, NAME, Kind::A, Extra::None)[..]), (time::PORT, &time)]
    {
        while ask(port, question).is_err() {
            patient()?;
        }
    }
    report.send(Instant::now())?;
    Ok(())
}
