//! A peer on the bus for test apps, good and hostile. It speaks varlink by hand: bytes that a library would not send are
//! what most of it is for.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["call", interface, method, parameters] => call(interface, method, parameters),
        ["every", interface, method, parameters] => every(interface, method, parameters),
        ["more", interface, method, parameters] => more(interface, method, parameters),
        ["file", interface, method, parameters] => file(interface, method, parameters),
        ["latency", interface, method] => latency(interface, method),
        ["many", interface, method, count] => many(interface, method, number(count)),
        ["flood", interface] => flood(interface),
        ["hold", interface, count] => hold(interface, number(count)),
        ["bad", interface] => bad(interface),
        ["unread", interface, method] => unread(interface, method),
        ["reach"] => reach(),
        ["serve", interface] => serve(interface),
        ["fork", interface, method] => fork(interface, method),
        ["inherited", interface, method] => inherited(interface, method),
        _ => Err(io::Error::other("what?")),
    };
    println!("peer: {} ends: {done:?}", words.first().unwrap_or(&""));
    std::thread::sleep(Duration::from_secs(3600));
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(1)
}

fn connect(interface: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(format!("/run/bus/{interface}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn message(interface: &str, method: &str, parameters: &str, more: bool) -> Vec<u8> {
    let more = if more { ",\"more\":true" } else { "" };
    format!("{{\"method\":\"{interface}.{method}\",\"parameters\":{parameters}{more}}}\0").into_bytes()
}

/// The next message; empty at the end of the stream.
fn reply(stream: &mut UnixStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    // A byte at a time, so that nothing of the next message goes with the reader.
    BufReader::with_capacity(1, stream).read_until(0, &mut bytes)?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn ask(stream: &mut UnixStream, interface: &str, method: &str, parameters: &str) -> io::Result<String> {
    stream.write_all(&message(interface, method, parameters, false))?;
    reply(stream)
}

/// One call.
fn call(interface: &str, method: &str, parameters: &str) -> io::Result<()> {
    println!("peer: reply {}", ask(&mut connect(interface)?, interface, method, parameters)?);
    Ok(())
}

/// A call a second, each by a connection of its own, for ever.
fn every(interface: &str, method: &str, parameters: &str) -> io::Result<()> {
    loop {
        let answer = connect(interface).and_then(|mut s| ask(&mut s, interface, method, parameters));
        println!("peer: {answer:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A stream of replies, for ever; connects again when it ends.
fn more(interface: &str, method: &str, parameters: &str) -> io::Result<()> {
    loop {
        let mut stream = connect(interface)?;
        stream.set_read_timeout(None)?;
        stream.write_all(&message(interface, method, parameters, true))?;
        loop {
            let text = reply(&mut stream)?;
            println!("peer: {text}");
            if text.is_empty() {
                break;
            }
        }
    }
}

/// A call whose reply brings a file.
fn file(interface: &str, method: &str, parameters: &str) -> io::Result<()> {
    let stream = connect(interface)?;
    (&stream).write_all(&message(interface, method, parameters, false))?;
    let (bytes, fds) = received(&stream)?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', "");
    println!("peer: reply {text}");
    let received = fds.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
    let mut file = std::fs::File::from(received);
    println!("peer: writing is {:?}", file.write(b"x").map_err(|e| e.kind()));
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    println!("peer: file of {} bytes begins {:?}", text.len(), text.lines().next());
    Ok(())
}

/// Round trips, for ever; says the median of each hundred.
fn latency(interface: &str, method: &str) -> io::Result<()> {
    let mut stream = connect(interface)?;
    loop {
        let mut times = Vec::new();
        for _ in 0..100 {
            let begin = Instant::now();
            ask(&mut stream, interface, method, "{}")?;
            times.push(begin.elapsed().as_micros());
        }
        times.sort_unstable();
        println!("peer: median_us={}", times.get(50).unwrap_or(&0));
    }
}

/// So many calls over one connection; says how many were answered.
fn many(interface: &str, method: &str, count: usize) -> io::Result<()> {
    let mut stream = connect(interface)?;
    let mut answered = 0;
    for _ in 0..count {
        answered += usize::from(ask(&mut stream, interface, method, "{}")?.contains("parameters"));
    }
    println!("peer: answered {answered} of {count}");
    Ok(())
}

/// Connects as fast as it can, closing each at once; says how it goes.
fn flood(interface: &str) -> io::Result<()> {
    let (mut opened, mut failed) = (0_u32, 0_u32);
    loop {
        match connect(interface) {
            Ok(_) => opened += 1,
            Err(_) => failed += 1,
        }
        if (opened + failed) % 1000 == 0 {
            println!("peer: flood opened={opened} failed={failed}");
        }
    }
}

/// Opens so many connections and keeps them; says how many of them live once none ends any more.
fn hold(interface: &str, count: usize) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(connect(interface)?);
    }
    // Those that are too many are ended by and by.
    let (begin, mut before) = (Instant::now(), usize::MAX);
    let alive = loop {
        std::thread::sleep(Duration::from_secs(5));
        let alive = held.iter().filter(|stream| is_open(stream)).count();
        if alive == before || begin.elapsed() > PATIENCE {
            break alive;
        }
        before = alive;
    };
    println!("peer: hold open={alive} of {count}");
    Ok(())
}

fn is_open(stream: &UnixStream) -> bool {
    let quiet = stream.set_nonblocking(true).and_then(|()| (&*stream).read(&mut [0]));
    matches!(quiet, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// What breaks the rules; each connection must be ended, and only it.
fn bad(interface: &str) -> io::Result<()> {
    let deep = format!("{{\"method\":\"{interface}.X\",\"parameters\":{}}}\0", "[".repeat(20_000));
    let twice = format!("{{\"method\":\"{interface}.X\",\"method\":\"{interface}.Y\"}}\0");
    let parts: [(&str, &[u8]); 6] = [
        ("deep", deep.as_bytes()),
        ("utf8", b"{\"method\":\"\xff\xfe\"}\0"),
        ("json", b"{]\0"),
        ("empty", b"\0"),
        ("twice", twice.as_bytes()),
        ("http", b"GET / HTTP/1.1\r\n\r\n\0"),
    ];
    for (what, bytes) in parts {
        let mut stream = connect(interface)?;
        let sent = stream.write_all(bytes).map_err(|e| e.kind());
        println!("peer: bad {what} sent={sent:?} then {:?}", reply(&mut stream).map_err(|e| e.kind()));
    }
    let mut stream = connect(interface)?;
    let block = vec![b' '; 1 << 16];
    let mut sent = 0;
    while sent < 64 << 20 && stream.write_all(&block).is_ok() {
        sent += block.len();
    }
    println!(
        "peer: bad huge stopped={} then {:?}",
        sent < 64 << 20,
        reply(&mut stream).map_err(|e| e.kind())
    );
    let stream = connect(interface)?;
    let bytes = message("org.varlink.service", "GetInfo", "{}", false);
    sys::channel::send(&stream, &bytes, &[stream.as_raw_fd()])?;
    let mut stream = stream;
    println!("peer: bad fds then {:?}", reply(&mut stream).map_err(|e| e.kind()));
    let mut half = connect(interface)?;
    half.write_all(b"{\"method\":\"org.varlink")?;
    println!("peer: bad half then {:?}", reply(&mut half).map_err(|e| e.kind()));
    let mut slow = connect(interface)?;
    for byte in message("org.varlink.service", "GetInfo", "{}", false) {
        slow.write_all(&[byte])?;
    }
    println!("peer: bytewise {}", reply(&mut slow)?.contains("vendor"));
    Ok(())
}

/// Calls without ever reading, until it is stopped.
fn unread(interface: &str, method: &str) -> io::Result<()> {
    let mut stream = connect(interface)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let bytes = message(interface, method, "{}", false);
    let mut sent = 0_u32;
    let end = loop {
        match stream.write_all(&bytes) {
            Ok(()) => sent += 1,
            Err(error) => break error.kind(),
        }
    };
    println!("peer: unread sent>0={} then {end:?}", sent > 0);
    Ok(())
}

/// What there is to connect to.
fn reach() -> io::Result<()> {
    for place in ["/run/bus", "/run/serve", "/run"] {
        let names = std::fs::read_dir(place).map(|entries| {
            let mut names: Vec<_> =
                entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        });
        println!("peer: reach {place} {:?}", names.map_err(|e| e.kind()));
    }
    let other = UnixStream::connect("/run/bus/os.gabion.Power").map(drop).map_err(|e| e.kind());
    println!("peer: reach os.gabion.Power {other:?}");
    Ok(())
}

/// Takes callers as a server without a library does, and tells each who it is. A router that ends is followed by another,
/// to which it connects; callers that it has go on.
fn serve(interface: &str) -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    loop {
        let router = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(router.as_raw_fd(), &UnixAddr::new(format!("/run/serve/{interface}").as_str())?)?;
        println!("peer: serving");
        while let Ok((grant, fds)) = received(&router) {
            let grant = String::from_utf8_lossy(&grant).into_owned();
            println!("peer: handed {grant}");
            if let Some(caller) = fds.into_iter().next() {
                std::thread::spawn(move || answer(&mut UnixStream::from(caller), &grant));
            }
        }
    }
}

/// The next message and its descriptors; waits for it.
fn received(socket: impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::NONE)?;
    let (bytes, fds) = sys::channel::receive(&socket)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((bytes, fds?))
}

fn answer(caller: &mut UnixStream, grant: &str) {
    while let Ok(text) = reply(caller) {
        if text.is_empty()
            || caller.write_all(format!("{{\"parameters\":{{\"grant\":{grant}}}}}\0").as_bytes()).is_err()
        {
            break;
        }
    }
    // Whoever handed it over has a duplicate: closing alone would not end it.
    let _ = caller.shutdown(std::net::Shutdown::Both);
}

/// A connection that another process inherits speaks with the same voice.
fn fork(interface: &str, method: &str) -> io::Result<()> {
    let stream = connect(interface)?;
    let mut child = std::process::Command::new("/bin/test-bus-peer")
        .args(["inherited", interface, method])
        .stdin(OwnedFd::from(stream))
        .spawn()?;
    child.wait().map(drop)
}

/// The child of the one before: its standard input is the connection.
fn inherited(interface: &str, method: &str) -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    println!("peer: child heard {}", ask(&mut stream, interface, method, "{}")?);
    Ok(())
}
