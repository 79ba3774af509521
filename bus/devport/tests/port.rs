//! A port, with this test as host, as router and as server.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use bus::devport::{FILE_MAX, Frame, Frames, PAYLOAD_MAX, Token};
use devport::{GONE_MS, Port};
use sys::stream::{self, Wait};
use tempfile::TempDir;

const TIME: &str = "os.gabion.Time";

struct Rig {
    port: Port,
    host: UnixStream,
    frames: Frames,
    listener: UnixListener,
    bus: TempDir,
}

impl Rig {
    fn new() -> Self {
        let bus = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(bus.path().join(TIME)).unwrap();
        let (host, device) = UnixStream::pair().unwrap();
        host.set_nonblocking(true).unwrap();
        device.set_nonblocking(true).unwrap();
        let port = Port::new(File::from(OwnedFd::from(device)), bus.path().into());
        Self { port, host, frames: Frames::default(), listener, bus }
    }

    fn send(&mut self, frame: Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.host.write_all(&bytes).unwrap();
    }

    /// Lets the port do what it can; gives what the host got.
    fn heard(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let more = self.port.turn(0);
            let mut buffer = vec![0; 64 * 1024];
            let length = self.host.read(&mut buffer).unwrap_or(0);
            self.frames.take(&buffer[..length], |frame| {
                all.push(match frame {
                    Frame::Data(bytes) => format!("data {}", String::from_utf8_lossy(bytes)),
                    Frame::File(bytes) => format!("file {}", bytes.len()),
                    other => format!("{other:?}"),
                });
            });
            if length == 0 && !more {
                return all;
            }
        }
    }

    fn open(&mut self, token: Token) -> UnixStream {
        self.send(Frame::Open(token, TIME));
        assert_eq!(self.heard().last(), Some(&format!("{:?}", Frame::Opened(token))));
        self.listener.accept().unwrap().0
    }
}

#[test]
fn bytes_go_both_ways_and_the_servers_end_is_told() {
    let mut rig = Rig::new();
    let mut server = rig.open([1; 8]);
    rig.send(Frame::Data(b"question\0"));
    assert!(rig.heard().is_empty());
    let mut got = [0; 9];
    server.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"question\0");
    server.write_all(b"answer\0").unwrap();
    assert_eq!(rig.heard(), ["data answer\0"]);
    drop(server);
    assert_eq!(rig.heard(), ["Closed"]);
}

#[test]
fn host_begins_anew_in_the_middle_of_a_frame_and_the_former_connection_ends() {
    let mut rig = Rig::new();
    let mut former = rig.open([1; 8]);
    let mut cut = Vec::new();
    Frame::Data(b"half").encode(&mut cut);
    cut.truncate(4);
    rig.host.write_all(&cut).unwrap();
    let _server = rig.open([2; 8]);
    let mut got = Vec::new();
    former.read_to_end(&mut got).unwrap();
    assert!(got.is_empty());
}

#[test]
fn file_of_a_reply_comes_before_it_and_a_pipe_is_refused() {
    let mut rig = Rig::new();
    let server = rig.open([1; 8]);
    let text = vec![b'x'; PAYLOAD_MAX + 1];
    let file = sys::memfd::sealed(c"log", &text).unwrap();
    let (pipe, _end) = nix::unistd::pipe().unwrap();
    stream::send(&server, b"reply\0", &[file.as_fd(), pipe.as_fd()], Wait::Yes).unwrap();
    let heard = rig.heard();
    let why = format!("{:?}", Frame::FileEnd("Illegal seek"));
    assert_eq!(heard, ["file 4096", "file 1", "FileEnd(\"\")", why.as_str(), "data reply\0"]);
}

#[test]
fn file_of_the_host_goes_with_its_message_and_one_that_is_too_long_ends_the_connection() {
    let mut rig = Rig::new();
    let server = rig.open([1; 8]);
    rig.send(Frame::Data(b"before\0"));
    let part = vec![b'x'; FILE_MAX];
    part.chunks(PAYLOAD_MAX).for_each(|bytes| {
        rig.send(Frame::File(bytes));
        rig.heard();
    });
    rig.send(Frame::FileEnd(""));
    rig.send(Frame::Data(b"with\0"));
    assert!(rig.heard().is_empty());
    let (mut buffer, mut fds) = ([0; 64], Vec::new());
    let mut got = 0;
    while fds.is_empty() {
        got += stream::receive_with(&server, &mut buffer[got..], &mut fds, Wait::Yes).unwrap().bytes;
    }
    assert_eq!((&buffer[..got], fds.len()), (&b"before\0with\0"[..], 1), "it came with the last message");
    let file = bus::bulk::Sealed::open(fds.remove(0), FILE_MAX as u64).unwrap();
    assert_eq!(file.read().unwrap(), part);
    let heard = part.chunks(PAYLOAD_MAX).chain([&b"x"[..]]).flat_map(|bytes| {
        rig.send(Frame::File(bytes));
        rig.heard()
    });
    assert_eq!(heard.collect::<Vec<_>>(), ["Closed"]);
}

#[test]
fn interface_that_is_not_there_or_no_name_is_refused_with_words() {
    let mut rig = Rig::new();
    for (name, why) in [
        ("os.gabion.Nothing", "no grant"),
        ("../../etc/passwd", "no name"),
        ("..", "no name"),
        ("a/b", "no name"),
        (&"a".repeat(200), "no name"),
    ] {
        rig.send(Frame::Open([3; 8], name));
        let heard = rig.heard().pop().unwrap();
        assert!(heard.starts_with("Refused") && heard.contains(why), "{name}: {heard}");
    }
}

#[test]
fn server_that_does_not_read_costs_its_connection_and_no_more() {
    let mut rig = Rig::new();
    let _server = rig.open([1; 8]);
    let mut heard = Vec::new();
    for _ in 0..1000 {
        rig.send(Frame::Data(&[b'x'; PAYLOAD_MAX]));
        heard = rig.heard();
        if !heard.is_empty() {
            break;
        }
    }
    assert_eq!(heard, ["Closed"]);
    let _other = rig.open([2; 8]);
}

/// Reading from the bus stops while the host does not read, and goes on when it does.
#[test]
fn host_that_does_not_read_holds_the_server_up_and_loses_nothing() {
    let mut rig = Rig::new();
    let mut server = rig.open([1; 8]);
    server.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Ok(length) = server.write(&[b'y'; 4096]) {
        sent += length;
        while rig.port.turn(0) {}
        assert!(sent < 8 << 20, "nothing holds the server up");
    }
    let got: usize = rig.heard().iter().map(|data| data.len() - "data ".len()).sum();
    assert_eq!(got, sent);
}

#[test]
fn host_that_goes_and_stays_away_ends_its_connection() {
    let mut rig = Rig::new();
    let mut server = rig.open([1; 8]);
    server.set_nonblocking(true).unwrap();
    rig.host.shutdown(std::net::Shutdown::Write).unwrap();
    let away = |rig: &mut Rig, now| while rig.port.turn(now) {};
    away(&mut rig, 1000);
    assert_eq!(rig.port.deadline_ms(), Some(1000 + GONE_MS));
    away(&mut rig, 999 + GONE_MS);
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    away(&mut rig, 1000 + GONE_MS);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    assert_eq!(rig.port.deadline_ms(), None);
}

/// What a port does when the kernel tells of the former host's end after the next one's first bytes. A FIFO without a
/// writer reads as a port that nobody has open.
#[test]
fn end_of_the_former_host_that_is_told_late_ends_nothing() {
    let rig = Rig::new();
    let fifo = rig.bus.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let nonblocking = |options: &mut OpenOptions| {
        options.custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(&fifo).unwrap()
    };
    let mut port = Port::new(nonblocking(OpenOptions::new().read(true)), rig.bus.path().into());
    let send = |host: &mut File, frame: Frame<'_>| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        host.write_all(&bytes).unwrap();
    };
    let mut host = nonblocking(OpenOptions::new().write(true));
    send(&mut host, Frame::Open([2; 8], TIME));
    while port.turn(0) {}
    let mut server = rig.listener.accept().unwrap().0;
    drop(host);
    while port.turn(1) {}
    let mut host = nonblocking(OpenOptions::new().write(true));
    while port.turn(2) {}
    assert_eq!(port.deadline_ms(), None);
    send(&mut host, Frame::Data(b"question"));
    while port.turn(2 + GONE_MS) {}
    let mut got = [0; 8];
    server.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"question");
}
