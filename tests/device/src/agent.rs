//! The test agent: what a test asks of the inside of a device, over the second serial port.
//!
//! It is no box. A box could not do this: Landlock scopes its signals to itself. Test images have it in `/sbin`, and
//! the kernel starts it as `init=`: it leaves a copy of itself behind and becomes the real `/sbin/init`, which never
//! learns of it. No shipped image has it.
//!
//! A line in, `NUMBER QUESTION`, lines out: each line of an answer begins with `| `, and the last one is `ok NUMBER` or
//! `error NUMBER WHY`. The number is 0 when it has just come up, which nobody asked. The terminal's echo has no such
//! beginning and is ignored by the other side.

#[path = "agent/traced.rs"]
mod traced;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;
use traced::Traced;

const PORT: &str = "/dev/ttyS1";
/// A word on the kernel's command line: the ports that are taken before anybody else starts, as in [`Ports::take`]. The
/// kernel puts words with a `=` that it does not know into the environment of the first process.
const TAKEN: &str = "test_ports";

/// Ports of this device that the test has taken from whoever wants them.
#[derive(Default)]
struct Ports {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl Ports {
    /// Takes those of `53,67,…`, for UDP and TCP and for every address.
    fn take(&mut self, ports: &str) -> io::Result<()> {
        for port in ports.split(',') {
            let at = (Ipv4Addr::UNSPECIFIED, port.parse().map_err(|_| io::Error::other("no port"))?);
            self.udp.push(UdpSocket::bind(at)?);
            self.tcp.push(TcpListener::bind(at)?);
        }
        Ok(())
    }
}

/// Of a device, too.
fn copy(from: &str, to: &str) -> io::Result<u64> {
    io::copy(&mut File::open(from)?, &mut File::create(to)?)
}

fn main() {
    if std::process::id() == 1 {
        // Without it the test that needs it says so by its time-out; the device boots in any case.
        let _ = Command::new("/sbin/test-agent").spawn();
        let failed = Command::new("/sbin/init").args(std::env::args_os().skip(1)).exec();
        eprintln!("test agent: cannot become init: {failed}");
        return;
    }
    let (mut ports, mut traced) = (Ports::default(), Traced::default());
    let taken = std::env::var(TAKEN).map_or(Ok(()), |taken| ports.take(&taken));
    let port = open_port();
    // What comes before the port is open is lost, so the other side waits for this. The firmware's last line may have no end.
    if (&port).write_all(b"\n").and_then(|()| reply(&port, "0", taken.map(|()| String::new()))).is_err() {
        return;
    }
    for line in BufReader::new(&port).lines() {
        let Ok(line) = line else { return };
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [number, words @ ..] = words.as_slice()
            && reply(&port, number, answer(words, &mut ports, &mut traced)).is_err()
        {
            return;
        }
    }
}

/// `/dev` may not be mounted yet.
fn open_port() -> File {
    loop {
        match OpenOptions::new().read(true).write(true).open(PORT) {
            Ok(port) => return port,
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn reply(mut port: &File, number: &str, answer: io::Result<String>) -> io::Result<()> {
    let mut text = String::new();
    match answer {
        Ok(answer) => {
            for line in answer.lines() {
                text.push_str("| ");
                text.push_str(line);
                text.push('\n');
            }
            text.push_str(&format!("ok {number}\n"));
        }
        Err(error) => text = format!("error {number} {error}\n"),
    }
    port.write_all(text.as_bytes())
}

fn answer(words: &[&str], ports: &mut Ports, traced: &mut Traced) -> io::Result<String> {
    match words {
        ["ping"] => Ok("pong".to_owned()),
        ["ps"] => processes(),
        ["cat", path] => fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ")),
        ["hex", path] => fs::read(path).map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        ["ls", path] => names(path),
        ["size", path] => fs::metadata(path).map(|about| about.len().to_string()),
        ["securityfs"] => securityfs().map(|()| String::new()),
        ["copy", from, to] => copy(from, to).map(|bytes| bytes.to_string()),
        ["mkdir", path] => fs::create_dir(path).map(|()| String::new()),
        ["write", path, text] => fs::write(path, text).map(|()| String::new()),
        ["kill", pid, signal] => send(pid, signal).map(|()| String::new()),
        ["take", list] => ports.take(list).map(|()| String::new()),
        ["watch", uid, name] => traced.begin(uid, name).map(|()| String::new()),
        ["watched"] => traced.seen(),
        ["seize", pid, list] => seize(pid, list, ports).map(|()| String::new()),
        ["release"] => {
            *ports = Ports::default();
            Ok(String::new())
        }
        _ => Err(io::Error::other(
            "ping, ps, cat, hex, ls, size, securityfs, copy PATH PATH, mkdir PATH, write PATH WORD, kill PID SIGNAL, take PORT,PORT, seize PID PORT,PORT, release, watch UID NAME or watched",
        )),
    }
}

/// Mounts it where it belongs; the device itself has no use for it.
fn securityfs() -> io::Result<()> {
    let none: Option<&str> = None;
    Ok(mount(none, "/sys/kernel/security", Some("securityfs"), MsFlags::MS_RDONLY, none)?)
}

/// Kills a process, and takes the ports before its successor has them.
fn seize(pid: &str, list: &str, ports: &mut Ports) -> io::Result<()> {
    const TRIES: u32 = 10_000;
    send(pid, "SIGKILL")?;
    for _ in 0..TRIES {
        let mut taken = Ports::default();
        if taken.take(list).is_ok() {
            *ports = taken;
            return Ok(());
        }
    }
    Err(io::Error::other("its successor was faster"))
}

fn send(pid: &str, signal: &str) -> io::Result<()> {
    let pid = pid.parse().map_err(|_| io::Error::other("no pid"))?;
    let signal = Signal::from_str(signal).map_err(|_| io::Error::other("no signal"))?;
    Ok(kill(Pid::from_raw(pid), signal)?)
}

fn names(path: &str) -> io::Result<String> {
    let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    Ok(entries.collect::<io::Result<Vec<_>>>()?.join("\n"))
}

/// `PID UID COMM` of every process that is not a kernel thread.
fn processes() -> io::Result<String> {
    let mut lines = String::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended since the directory was read.
        let (Ok(about), Ok(comm), Ok(arguments)) = (
            entry.metadata(),
            fs::read_to_string(entry.path().join("comm")),
            fs::read(entry.path().join("cmdline")),
        ) else {
            continue;
        };
        let uid = owner(&entry.path()).unwrap_or(about.uid());
        if !arguments.is_empty() {
            lines.push_str(&format!("{pid} {uid} {}\n", comm.trim()));
        }
    }
    Ok(lines)
}

/// The owner of the directory is root for what is not dumpable, so the status is asked.
fn owner(process: &std::path::Path) -> Option<u32> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}
