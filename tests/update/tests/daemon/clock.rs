//! Time, which passes when nobody has anything to do.
//!
//! Between two ends of a connection over the loopback there is a queue of the kernel's. It is empty once a sender is back from
//! its call, unless the machine has much to do: then a thread of the kernel's empties it later. Nobody has anything to do
//! meanwhile, and time would pass: patience ends, connections are given up, files are fetched twice. So whoever is about to let
//! time pass sends something through the same queue, and waits for it ([`settle`]). (Nothing is to be held back at its sender
//! either until what went before is acknowledged, as long as 40 ms: connections here are without delay.)

use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use tokio::time::Instant;
use updated::state::Clock;

/// How often something is sent through the queue: what leaves it may put something in, as a connection does that is opened.
const ROUNDS: usize = 4;

thread_local! {
    static PROBE: UdpSocket = probe();
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static BOOTED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What was sent over the loopback by this thread is at its other end when this comes back.
pub(crate) fn settle() {
    PROBE.with(|probe| {
        for _ in 0..ROUNDS {
            probe.send(&[0]).unwrap();
            assert_eq!(probe.recv(&mut [0]).unwrap(), 1);
        }
    });
}

/// A socket that leads to itself. The queue is a processor's, so the thread stays where it is.
fn probe() -> UdpSocket {
    let mut here = CpuSet::new();
    here.set(sched_getcpu().unwrap()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &here).unwrap();
    let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    probe.connect(probe.local_addr().unwrap()).unwrap();
    probe
}

/// Begins, now.
pub(crate) fn begin() {
    BEGAN.set(Some(Instant::now()));
    boot();
}

/// The device boots.
pub(crate) fn boot() {
    BOOTED.set(Some(Instant::now()));
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    let passed = BEGAN.get().map_or(0, |began| began.elapsed().as_secs());
    u64::try_from(update_test::NOW_S).unwrap() + passed
}

/// As the daemon has it.
pub(crate) fn clock() -> Clock {
    let boot_ms = || BOOTED.get().map_or(0, |at| u64::try_from(at.elapsed().as_millis()).unwrap());
    Clock { wall_s: now_s, boot_ms }
}
