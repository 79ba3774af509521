//! Over a network that is bad: a cable to a namespace with the service, on which packets are lost in both directions, to a server
//! that is late, slow, fails, and loses its connections. As root.
//!
//! Packets that are late take `netem`, which not every kernel has: here it is the server's answers that are.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use service_api::updates::Stage;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Duration, Instant, sleep};
use update_test::Site;

use super::clock;
use super::releases;
use super::server::Fault;
use super::world::World;

/// In how many seconds it must have come through, whatever happens: no measure of how fast that is, but an end.
const END_S: u64 = 1200;
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 7, 1));

/// A network namespace for this thread, with a cable to one that is named.
struct Cable {
    name: String,
}

impl Cable {
    /// Of a hundred packets so many are lost.
    fn new(name: &str, lost: u32) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let cable = Self { name: format!("gabion-{name}-{}", std::process::id()) };
        let name = &cable.name;
        cable.run(&format!(
            "ip link set lo up
             ip netns add {name}
             ip link add cable type veth peer name cable netns {name}
             ip addr add 10.9.7.9/24 dev cable
             ip link set cable up
             ip -n {name} addr add {SERVER}/24 dev cable
             ip -n {name} link set cable up
             ip -n {name} link set lo up
             nft add table inet cable"
        ));
        for hook in ["input", "output"] {
            cable.run(&format!(
                "nft add chain inet cable {hook} {{ type filter hook {hook} priority 0 ; }}
                 nft add rule inet cable {hook} numgen random mod 100 < {lost} drop"
            ));
        }
        cable
    }

    fn run(&self, lines: &str) {
        for line in lines.lines().map(str::trim) {
            let mut words = line.split_whitespace();
            let done = Command::new(words.next().unwrap()).args(words).output().unwrap();
            assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }

    /// A socket at the other end.
    fn listener(&self) -> TcpListener {
        let file = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        let there = std::thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            TcpListener::bind((SERVER, 0)).unwrap()
        });
        there.join().unwrap()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// How many bytes an update takes where of a hundred packets so many are lost, connections end every `cut_s` seconds, and
/// answers are faulty.
fn bytes(name: &'static str, lost: u32, cut_s: Option<u64>, fault: Option<Fault>) -> u64 {
    // The namespace is the thread's.
    let thread = std::thread::spawn(move || {
        let cable = Cable::new(name, lost);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            clock::begin();
            let world = World::on(Site::new().unwrap(), cable.listener());
            let system = world.systems[0].touched("1.9").unwrap();
            world.board.systems.borrow_mut().push(system.clone());
            releases::publish(&world.site, &system, &[], 0).unwrap();
            if let Some(fault) = fault {
                world.server.breaks("/targets/", fault, u32::MAX);
            }
            world.means(&[system.path()]);
            if let Some(cut_s) = cut_s {
                let server = world.server.clone();
                spawn_local(async move {
                    loop {
                        sleep(Duration::from_secs(cut_s)).await;
                        server.cut.notify_waiters();
                    }
                });
            }
            let began = Instant::now();
            world.until(name, END_S, |world| world.knows(&system.path(), Stage::Pending)).await;
            let fetched = world.outcomes(&system.path()).last().unwrap().fetched;
            println!("{name}: {fetched} bytes in {} s", began.elapsed().as_secs());
            fetched
        })
    });
    thread.join().unwrap()
}

#[test]
fn update_comes_through_bad_networks_by_hardly_more_bytes_than_through_a_good_one() {
    let clean = bytes("clean", 0, None, None);
    let cases = [
        ("loss-2", 2, None, None),
        ("loss-20", 20, None, None),
        ("late", 0, None, Some(Fault::Late(500))),
        ("cut", 0, Some(2), Some(Fault::Slow(60_000))),
        ("broken", 0, None, Some(Fault::Broken(3))),
    ];
    let runs = cases
        .map(|(name, lost, cut, fault)| std::thread::spawn(move || (name, bytes(name, lost, cut, fault))));
    for run in runs {
        let (name, bytes) = run.join().unwrap();
        assert!(bytes <= clean * 11 / 10, "{name}: {bytes} bytes, {clean} over a good network");
    }
}
