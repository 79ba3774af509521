//! An app that does to the broker of the root of trust, `os.gabion.Certificate`, what was done to others' (TALOS-2020-1117,
//! 2020-1139, 2021-1347): takes all its handles, never reads its answers, asks from many threads, closes while it is at
//! work, and asks for somebody else's identity and for lengths that can not be.
//!
//! It says what came of each; what has to come of it is the test's to know.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};

const BROKER: &str = "/run/bus/os.gabion.Certificate";
const PATIENCE: Duration = Duration::from_secs(90);
/// Connections that one process opens, by as many processes.
const HANDLES: usize = 2500;
const HOLDERS: usize = 4;
const THREADS: usize = 64;
/// Calls of each thread.
const CALLS: usize = 3;
/// Calls that are closed on.
const CLOSED: usize = 60;
/// A nonce of 8 bytes, and a digest.
const NONCE: &str = "{\"nonce\":\"AAAAAAAAAAA=\"}";
const DIGEST: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Names of errors, and how many of each.
type Counts = BTreeMap<String, usize>;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["attack"] => attack(),
        ["hold"] => hold(),
        _ => Err(io::Error::other("what?")),
    };
    println!("broker: ends {done:?}");
    if words == ["attack"] {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn attack() -> io::Result<()> {
    strange()?;
    handles()?;
    unread()?;
    println!("broker: threads {:?}", threads());
    println!("broker: closed {:?}", closed());
    // The router may still count connections that are closed.
    let answer = (0..60).find_map(|_| {
        let answer = ask("Attest", NONCE).map(|text| name(&text)).ok().filter(|name| name == "ok");
        answer.or_else(|| {
            std::thread::sleep(Duration::from_secs(1));
            None
        })
    });
    println!("broker: afterwards {answer:?}");
    Ok(())
}

/// Lengths that can not be, and identities of others.
fn strange() -> io::Result<()> {
    let sign =
        |digest: &str, algorithm: &str| format!("{{\"digest\":\"{digest}\",\"algorithm\":\"{algorithm}\"}}");
    let ecdsa = "ecdsa-p256-sha256";
    let tries = [
        ("empty", "Sign", sign("", ecdsa)),
        ("short", "Sign", sign("AAAA", ecdsa)),
        ("long", "Sign", sign(&"AAAA".repeat(11), ecdsa)),
        ("huge", "Sign", sign(&"AAAA".repeat(4000), ecdsa)),
        ("no-base64", "Sign", sign("????", ecdsa)),
        ("algorithm", "Sign", sign(DIGEST, "none")),
        (
            "another",
            "Sign",
            format!("{{\"digest\":\"{DIGEST}\",\"algorithm\":\"{ecdsa}\",\"app\":\"org.test.victim\"}}"),
        ),
        ("another", "Attest", "{\"nonce\":\"AAAAAAAAAAA=\",\"app\":\"org.test.victim\"}".to_owned()),
        ("another", "GetChain", "{\"app\":\"org.test.victim\"}".to_owned()),
        ("negative", "Sign", sign("-1", ecdsa)),
        (
            "number",
            "Sign",
            "{\"digest\":18446744073709551615,\"algorithm\":\"ecdsa-p256-sha256\"}".to_owned(),
        ),
        ("empty", "Attest", "{\"nonce\":\"\"}".to_owned()),
        ("short", "Attest", "{\"nonce\":\"AAAA\"}".to_owned()),
        ("long", "Attest", format!("{{\"nonce\":\"{}\"}}", "AAAA".repeat(11))),
        ("huge", "Attest", format!("{{\"nonce\":\"{}\"}}", "AAAA".repeat(4000))),
    ];
    for (what, method, parameters) in tries {
        println!("broker: {method} {what} {}", heard(ask(method, &parameters)));
    }
    // Longer than a message may be: the connection ends.
    let answer = ask("Sign", &sign(&"AAAA".repeat(100_000), ecdsa));
    println!("broker: Sign endless {}", heard(answer));
    Ok(())
}

/// As many handles as may be had, held by processes of which each has as many as it may.
fn handles() -> io::Result<()> {
    let holder =
        || Command::new("/proc/self/exe").arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut holders = (0..HOLDERS).map(|_| holder()).collect::<io::Result<Vec<_>>>()?;
    let mut tried = 0;
    for child in &mut holders {
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
        tried += line.trim().parse::<usize>().map_err(io::Error::other)?;
    }
    println!("broker: handles {tried} tried");
    // They hold what they have for as long as it takes to ask once more, for which there may be no handle left.
    let answer = ask("Attest", NONCE).map_or_else(|e| format!("{:?}", e.kind()), |text| name(&text));
    println!("broker: with handles {answer}");
    for mut child in holders {
        drop(child.stdin.take());
        child.wait()?;
    }
    Ok(())
}

/// Opens what it may, says how often it tried, and holds that until its standard input ends.
fn hold() -> io::Result<()> {
    let held: Vec<OwnedFd> = (0..HANDLES).filter_map(|_| handle().ok()).collect();
    println!("{HANDLES}");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}

/// Calls without ever reading, on eight connections at once, until each is ended.
fn unread() -> io::Result<()> {
    let write = |mut stream: UnixStream| {
        let bytes = message("Attest", NONCE);
        // Far more than any buffer holds.
        stream.set_write_timeout(Some(PATIENCE)).is_ok()
            && (0..20_000).any(|_| stream.write_all(&bytes).is_err())
    };
    let all = (0..8).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    let count = all.len();
    let threads: Vec<_> = all.into_iter().map(|stream| std::thread::spawn(move || write(stream))).collect();
    let ended = threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|ended| *ended).count();
    println!("broker: unread {ended} of {count} ended");
    Ok(())
}

/// A connection, or what is on its way to be one; whoever finds the router busy does not wait for it.
fn handle() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let handle = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(handle.as_raw_fd(), &UnixAddr::new(BROKER)?)?;
    Ok(handle)
}

/// All at once, each over one connection for as long as that is open.
fn threads() -> Counts {
    let work = || {
        let (mut counts, mut stream) = (Counts::new(), connect());
        let parameters = format!("{{\"digest\":\"{DIGEST}\",\"algorithm\":\"ecdsa-p256-sha256\"}}");
        for _ in 0..CALLS {
            for (method, parameters) in [("Attest", NONCE), ("Sign", &parameters), ("GetChain", "{}")] {
                let answer = stream.as_mut().map_err(|e| e.kind().into());
                let answer = answer.and_then(|stream| ask_on(stream, method, parameters));
                if answer.as_ref().map_or(true, String::is_empty) {
                    stream = connect();
                }
                let answer = answer.map_or_else(|e| format!("{:?}", e.kind()), |text| name(&text));
                *counts.entry(answer).or_default() += 1;
            }
        }
        counts
    };
    let all: Vec<_> = (0..THREADS)
        .filter_map(|_| std::thread::Builder::new().stack_size(64 << 10).spawn(work).ok())
        .collect();
    let mut counts = Counts::from([("threads".to_owned(), all.len())]);
    for (name, count) in all.into_iter().filter_map(|thread| thread.join().ok()).flatten() {
        *counts.entry(name).or_default() += count;
    }
    counts
}

/// Each call's connection is closed before its answer can be there.
fn closed() -> Counts {
    let mut counts = Counts::new();
    for _ in 0..CLOSED {
        let sent = connect().and_then(|mut stream| stream.write_all(&message("Attest", NONCE)));
        *counts
            .entry(sent.map_or_else(|e| format!("{:?}", e.kind()), |()| "sent".to_owned()))
            .or_default() += 1;
    }
    counts
}

fn connect() -> io::Result<UnixStream> {
    let stream = UnixStream::connect(BROKER)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn message(method: &str, parameters: &str) -> Vec<u8> {
    format!("{{\"method\":\"os.gabion.Certificate.{method}\",\"parameters\":{parameters}}}\0").into_bytes()
}

/// One call over a connection of its own. A file that comes with the answer is not taken.
fn ask(method: &str, parameters: &str) -> io::Result<String> {
    ask_on(&mut connect()?, method, parameters)
}

fn ask_on(stream: &mut UnixStream, method: &str, parameters: &str) -> io::Result<String> {
    stream.write_all(&message(method, parameters))?;
    let mut answer = Vec::new();
    // There is one answer at a time, so nothing of the next is lost with the reader.
    BufReader::new(stream).read_until(0, &mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What came of a call; a connection that is ended while one writes to it ends either way.
fn heard(answer: io::Result<String>) -> String {
    answer.map_or_else(|_| "end".to_owned(), |text| name(&text))
}

/// The error's name in an answer, `ok` if it is none, `end` when the connection ended.
fn name(answer: &str) -> String {
    match answer.split_once("\"error\":\"") {
        Some((_, rest)) => rest.split('"').next().unwrap_or_default().to_owned(),
        None if answer.is_empty() => "end".to_owned(),
        None => "ok".to_owned(),
    }
}
