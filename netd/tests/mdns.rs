//! The announcement on a real link: devices in network namespaces of their own, on a bridge with an asker.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netd::mdns::{Identity, Inputs, PORT, Settings, run};
use netd::state::{Link, NetState};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE};
use tokio::sync::watch;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

fn ip(arguments: &str) -> Result<()> {
    let done = Command::new("ip").args(arguments.split(' ')).status().context("ip")?;
    ensure!(done.success(), "ip {arguments}");
    Ok(())
}

/// This thread's namespace becomes a bridge with an asker on it.
fn bridge() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace: the tests run as root")?;
    ip("link add br0 type bridge mcast_snooping 0")?;
    ip(&format!("addr add {ASKER}/24 dev br0"))?;
    ip("link set br0 up")?;
    ip("route add 224.0.0.0/4 dev br0")
}

/// A device on the bridge, in a namespace and a thread of its own.
struct Device {
    settings: Option<watch::Sender<Settings>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Device {
    /// `before` runs in the device's namespace before it is announced.
    fn start(number: u8, before: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Self> {
        let (tell_thread, told_thread) = mpsc::channel::<Pid>();
        let (tell_link, told_link) = mpsc::channel::<()>();
        let (settings, settings_told) =
            watch::channel(Settings { announce: true, links: vec!["eth0".into()] });
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            tell_thread.send(gettid())?;
            told_link.recv()?;
            ip(&format!("addr add 192.0.2.{number}/24 dev eth0"))?;
            ip("link set eth0 up")?;
            before()?;
            device(number, settings_told)
        });
        let pid = told_thread.recv().context("the device's thread")?;
        ip(&format!("link add to{number} type veth peer name eth0 netns {pid}"))?;
        ip(&format!("link set to{number} master br0 up"))?;
        tell_link.send(())?;
        Ok(Self { settings: Some(settings), thread: Some(thread) })
    }

    fn stop(mut self) -> Result<()> {
        drop(self.settings.take());
        let thread = self.thread.take().context("a thread")?;
        thread.join().map_err(|_| anyhow::anyhow!("the device's thread panicked"))?
    }
}

fn device(number: u8, settings: watch::Receiver<Settings>) -> Result<()> {
    let link = Link {
        index: if_nametoindex("eth0")?,
        name: "eth0".into(),
        hardware_address: None,
        loopback: false,
        up: true,
        addresses: vec![(Ipv4Addr::new(192, 0, 2, number).into(), 24)],
        gateways: Vec::new(),
        missing: None,
    };
    let (_net, net) = watch::channel(NetState { links: vec![link], ..NetState::default() });
    let identity = Identity { id: "0011aabbccdd".into(), port: 0 };
    let (_door, door) = watch::channel(7000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(run(Inputs { settings, net, door, identity }))?)
}

/// Hears what is told to the group, and asks.
struct Asker(UdpSocket);

impl Asker {
    fn new(port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        if port == PORT {
            socket.join_multicast_v4(&GROUP, &ASKER)?;
        }
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self(socket))
    }

    fn ask(&self, name: &str, kind: TYPE) -> Result<()> {
        let mut packet = Packet::new_query(5);
        packet.questions.push(Question::new(
            Name::new(name)?,
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        self.0.send_to(&packet.build_bytes_vec()?, (GROUP, PORT))?;
        Ok(())
    }

    /// Hears messages until one has what is looked for. Fails after half a minute of silence.
    fn hear<T>(&self, mut look: impl FnMut(&Packet<'_>, SocketAddr) -> Option<T>) -> Result<T> {
        let mut bytes = [0; 9000];
        let patience = self.0.read_timeout()?.context("a patience")?;
        let mut until = Instant::now() + patience;
        loop {
            let (length, from) = match self.0.recv_from(&mut bytes) {
                // Silence goes on, however often it is interrupted.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted && Instant::now() < until => {
                    continue;
                }
                heard => heard.context("nothing more was heard")?,
            };
            until = Instant::now() + patience;
            if let Some(found) = look(&Packet::parse(&bytes[..length])?, from) {
                return Ok(found);
            }
        }
    }
}

fn is_answer(packet: &Packet<'_>) -> bool {
    packet.has_flags(PacketFlag::RESPONSE) && packet.answers.iter().all(|record| record.ttl > 0)
}

#[test]
fn device_is_found_by_its_service_and_says_goodbye() -> Result<()> {
    bridge()?;
    let asker = Asker::new(PORT)?;
    let device = Device::start(1, || Ok(()))?;
    let is_probe =
        |packet: &Packet<'_>| !packet.has_flags(PacketFlag::RESPONSE) && !packet.name_servers.is_empty();
    asker.hear(|packet, _| is_probe(packet).then_some(()))?;
    asker.hear(|packet, _| is_answer(packet).then_some(()))?;
    // After both announcements, and a second in which nothing is told twice.
    asker.hear(|packet, _| is_answer(packet).then_some(()))?;
    thread::sleep(Duration::from_secs(1));
    asker.ask("_gabion._tcp.local", TYPE::PTR)?;
    let found = asker.hear(|packet, from| {
        let mut found = BTreeMap::new();
        for record in packet.answers.iter().chain(&packet.additional_records) {
            match &record.rdata {
                RData::PTR(one) => found.insert("instance", one.0.to_string()),
                RData::SRV(one) => found.insert("server", format!("{}:{}", one.target, one.port)),
                RData::A(one) => found.insert("address", Ipv4Addr::from(one.address).to_string()),
                RData::TXT(one) => found.insert("text", one.iter_raw().count().to_string()),
                _ => None,
            };
        }
        (is_answer(packet) && from.port() == PORT).then_some(found)
    })?;
    let wanted = [
        ("address", "192.0.2.1"),
        ("instance", "gabion-ccdd._gabion._tcp.local"),
        ("server", "gabion-ccdd.local:7000"),
        ("text", "1"),
    ];
    assert!(found.iter().map(|(key, value)| (*key, value.as_str())).eq(wanted), "{found:?}");
    let legacy = Asker::new(0)?;
    legacy.ask("gabion-ccdd.local", TYPE::A)?;
    let told = legacy.hear(|packet, _| Some((packet.id(), packet.answers.len(), packet.questions.len())))?;
    assert_eq!(told, (5, 1, 1));
    device.stop()?;
    asker.hear(|packet, _| packet.answers.iter().any(|record| record.ttl == 0).then_some(()))
}

#[test]
fn two_devices_of_one_name_end_with_two() -> Result<()> {
    bridge()?;
    let asker = Asker::new(PORT)?;
    let devices = (Device::start(1, || Ok(()))?, Device::start(2, || Ok(()))?);
    let mut owners = BTreeMap::new();
    asker.hear(|packet, _| {
        for record in packet.answers.iter().filter(|_| is_answer(packet)) {
            if let RData::A(one) = &record.rdata {
                owners.insert(Ipv4Addr::from(one.address), record.name.to_string());
            }
        }
        let names: BTreeSet<&String> = owners.values().collect();
        (names.len() == 2).then_some(())
    })?;
    assert!(owners.values().any(|name| name == "gabion-ccdd.local"), "{owners:?}");
    assert!(owners.values().any(|name| name == "gabion-ccdd-2.local"), "{owners:?}");
    devices.0.stop()?;
    devices.1.stop()
}

#[test]
fn port_that_somebody_holds_alone_is_waited_for() -> Result<()> {
    bridge()?;
    let asker = Asker::new(PORT)?;
    let (tell, told) = mpsc::channel::<()>();
    let device = Device::start(1, move || {
        // Without SO_REUSEADDR: nobody else gets the port while this is there.
        let alone = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        ensure!(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).is_err());
        thread::spawn(move || {
            let _ = told.recv();
            drop(alone);
        });
        Ok(())
    })?;
    asker.0.set_read_timeout(Some(Duration::from_secs(2)))?;
    assert!(asker.hear(|_, _| Some(())).is_err());
    tell.send(())?;
    asker.0.set_read_timeout(Some(Duration::from_secs(30)))?;
    asker.hear(|packet, _| is_answer(packet).then_some(()))?;
    device.stop()
}
