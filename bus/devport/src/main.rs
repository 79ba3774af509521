//! `devport PORT…`: serves the host on each of these ports, for ever.
//!
//! Everything is watched for edges: a port nobody has opened on the host is always ready, to be read as ended.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use devport::Port;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Where a box has its sockets.
const BUS: &str = "/run/bus";

fn main() -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut ports = Vec::new();
    for path in std::env::args_os().skip(1) {
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        let port = Port::new(file, BUS.into());
        epoll.add(&port, edges(ports.len()))?;
        ports.push((port, true));
    }
    loop {
        for (index, (port, busy)) in ports.iter_mut().enumerate().filter(|(_, (_, busy))| *busy) {
            *busy = port.turn(now_ms());
            if let Some(socket) = port.opened() {
                // Closing takes it off again. What came before it was watched is an edge, too.
                epoll.add(socket, edges(index))?;
            }
        }
        let mut events = [EpollEvent::empty(); 16];
        let count = match epoll.wait(&mut events, patience(&ports)) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let now = now_ms();
        for (port, busy) in &mut ports {
            *busy |= port.deadline_ms().is_some_and(|deadline| deadline <= now);
        }
        for event in events.iter().take(count) {
            if let Some((_, busy)) = usize::try_from(event.data()).ok().and_then(|n| ports.get_mut(n)) {
                *busy = true;
            }
        }
    }
}

/// How long nothing needs to be done unless something happens.
fn patience(ports: &[(Port, bool)]) -> EpollTimeout {
    if ports.iter().any(|(_, busy)| *busy) {
        return EpollTimeout::ZERO;
    }
    let deadline = ports.iter().filter_map(|(port, _)| port.deadline_ms()).min();
    let left = deadline.map(|deadline| deadline.saturating_sub(now_ms()));
    left.map_or(EpollTimeout::NONE, |ms| EpollTimeout::from(u16::try_from(ms).unwrap_or(u16::MAX)))
}

fn now_ms() -> u64 {
    sys::process::now_ms()
}

fn edges(index: usize) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, index as u64)
}
