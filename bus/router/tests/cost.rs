//! What the router costs, against the bars of the specification. Measures the machine it runs on, so it is run by hand,
//! with the program as an image has it (`make image` leaves it there):
//!
//! ```text
//! GABION_BUSD=target/x86_64-unknown-linux-gnu/release/busd \
//!     cargo test --release -p gabion-busd --test cost -- --ignored --nocapture --test-threads 1
//! ```

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[expect(dead_code, reason = "each test program uses its part of the rig")]
mod rig;

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use bus::control::Limits;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rig::{Bus, call, connect_server, echo, exchange, granted, handover, key};

const SERVER: u32 = 11;
const INTERFACE: &str = "com.example.Thing";
const LIMITS: Limits = Limits { connections: u16::MAX, connections_per_s: u16::MAX, message_bytes: 65536 };
const ROUNDS: usize = 2000;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// From `connect` to the first byte of the server.
fn opens(path: &std::path::Path) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut stream = call(path);
        stream.read_exact(&mut [0]).unwrap();
        times.push(start.elapsed());
    }
    median(times)
}

#[test]
#[ignore = "a measurement: prints, and holds the bar, of the machine it runs on"]
fn open_of_a_connection_takes_at_most_150_us_more_than_a_raw_one() {
    let mut one = CpuSet::new();
    one.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || while listener.accept().unwrap().0.write_all(b"x").is_ok() {});
    let raw = opens(&path);
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, LIMITS));
    let server = connect_server(&bus.serve(&key(SERVER, INTERFACE)));
    thread::spawn(
        move || while handover(&server).is_some_and(|(_, s)| s.unwrap().write_all(b"x").is_ok()) {},
    );
    let routed = opens(&path);
    println!("open, median of {ROUNDS} on one CPU: raw {raw:?}, through the router {routed:?}");
    assert!(routed - raw <= Duration::from_micros(150));
}

#[test]
#[ignore = "a measurement: prints, and holds the bar, of the machine it runs on"]
fn memory_is_at_most_1_mib_idle_and_4_kib_for_each_connection() {
    const CONNECTIONS: usize = 1000;
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, LIMITS));
    let mut streams = vec![];
    let server = echo(bus.serve(&key(SERVER, INTERFACE)));
    assert!(exchange(&mut call(&path), 1));
    bus.until_stored(0);
    let idle = bus.router_pss();
    streams.extend((0..CONNECTIONS).map(|_| call(&path)));
    bus.until_stored(CONNECTIONS);
    assert!(streams.iter_mut().all(|stream| exchange(stream, 1)));
    let open = bus.router_pss();
    let each = (open - idle) * 1024 / CONNECTIONS as u64;
    println!("PSS: {idle} KiB idle, {open} KiB with {CONNECTIONS} connections: {each} bytes each");
    assert!(idle <= 1024 && each <= 4096);
    drop(streams);
    bus.until_stored(0);
    println!("PSS: {} KiB after they are closed", bus.router_pss());
    drop(server);
}
