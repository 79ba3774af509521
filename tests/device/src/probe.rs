//! A program for test apps, where Debian's busybox has no words for what is to be done.

use nix::fcntl::{Flock, FlockArg};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::{Duration, Instant};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        // Feeds its watchdog so many times, then is silent for ever.
        ["pet", times] => pet(times.parse().unwrap_or(1)),
        // Says that it is ready once there is a file /data/go, which it removes, and feeds its watchdog all the time.
        ["ready"] => println!("ready: {:?}", ready()),
        // Is ready at once, and feeds its watchdog and says so once a second for ever.
        ["beat"] => println!("beat: {:?}", beat()),
        // Touches so many MiB of memory and keeps them.
        ["hold", mebibytes] => hold(mebibytes.parse().unwrap_or(1)),
        // Ends by the processor's own fault, which no signal sent to the first process of a namespace can do.
        ["fault"] => std::process::abort(),
        // Says hello to whoever connects to this address; says what it cannot do.
        ["serve", address] => println!("serve: {:?}", serve(address)),
        // Says what a system call that does nothing takes, again and again.
        ["calls"] => calls(),
        // Connects to this address until it is told hello.
        ["call", address] => call(address),
        // Sends a datagram to the IPv6 addresses of this host until it comes back.
        ["datagram", address] => datagram(address),
        // Is there for others to reach: by what it listens to, writes and locks.
        ["neighbour"] => println!("neighbour: {:?}", neighbour()),
        _ => eprintln!("probe: what?"),
    }
}

fn pet(times: u32) {
    let socket = std::env::var("NOTIFY_SOCKET");
    println!("pet: socket {socket:?}");
    let said = UnixDatagram::unbound().and_then(|datagram| {
        datagram.connect(socket.unwrap_or_default())?;
        datagram.send(b"READY=1")?;
        for _ in 0..times {
            datagram.send(b"WATCHDOG=1")?;
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    });
    println!("pet: silent from now: {said:?}");
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Marks for another box to look for, none of which it should find.
fn neighbour() -> io::Result<()> {
    for place in ["/tmp", "/dev/shm", "/data"] {
        std::fs::write(format!("{place}/neighbour"), "here")?;
    }
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let _lock = Flock::lock(input, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let named = |name: &[u8]| SocketAddr::from_abstract_name(name);
    let _mail = UnixDatagram::bind_addr(&named(b"gabion-neighbour-mail")?)?;
    let listener = UnixListener::bind_addr(&named(b"gabion-neighbour")?)?;
    println!("neighbour: listens");
    for caller in listener.incoming() {
        let _ = caller.and_then(|mut caller| caller.write_all(b"hello"));
    }
    Ok(())
}

fn notify_socket() -> io::Result<UnixDatagram> {
    let datagram = UnixDatagram::unbound()?;
    datagram.connect(std::env::var("NOTIFY_SOCKET").map_err(io::Error::other)?)?;
    Ok(datagram)
}

fn ready() -> io::Result<()> {
    let datagram = notify_socket()?;
    println!("waiting for /data/go");
    loop {
        datagram.send(b"WATCHDOG=1")?;
        if std::fs::remove_file("/data/go").is_ok() {
            datagram.send(b"READY=1\nSTATUS=going")?;
            println!("ready");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn beat() -> io::Result<()> {
    let datagram = notify_socket()?;
    datagram.send(b"READY=1")?;
    for count in 1.. {
        datagram.send(b"WATCHDOG=1")?;
        println!("beat {count}");
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn hold(mebibytes: usize) {
    let mut held = Vec::new();
    for count in 1..=mebibytes {
        held.push(vec![0xa5_u8; 1 << 20]);
        println!("hold: {count} MiB");
    }
    std::thread::sleep(Duration::from_secs(3600));
    println!("hold: {}", held.len());
}

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("serve: listening");
    for stream in listener.incoming() {
        stream?.write_all(b"hello")?;
    }
    Ok(())
}

fn calls() {
    const CALLS: u32 = 20_000;
    loop {
        let began = Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box(std::os::unix::process::parent_id());
        }
        println!("calls: {:.1} ns", began.elapsed().as_nanos() as f64 / f64::from(CALLS));
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn call(address: &str) {
    loop {
        let mut text = String::new();
        let answer = TcpStream::connect(address).and_then(|mut stream| stream.read_to_string(&mut text));
        println!("call: {:?} {text}", answer.map_err(|error| error.kind()));
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn datagram(address: &str) {
    let there_and_back = || -> io::Result<bool> {
        let to = address.to_socket_addrs()?.find(|to| to.is_ipv6()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = UdpSocket::bind("[::]:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send_to(b"hello", to)?;
        let mut back = [0; 16];
        let (length, from) = socket.recv_from(&mut back)?;
        Ok(from == to && back.get(..length) == Some(b"hello"))
    };
    loop {
        println!("datagram: {:?}", there_and_back().map_err(|error| error.kind()));
        std::thread::sleep(Duration::from_secs(1));
    }
}
