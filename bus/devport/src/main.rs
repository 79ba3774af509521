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
            *busy = port.turn();
            if let Some(socket) = port.opened() {
                // Closing takes it off again. What came before it was watched is an edge, too.
                epoll.add(socket, edges(index))?;
            }
        }
        let mut events = [EpollEvent::empty(); 16];
        let patience =
            if ports.iter().any(|(_, busy)| *busy) { EpollTimeout::ZERO } else { EpollTimeout::NONE };
        let count = match epoll.wait(&mut events, patience) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        for event in events.iter().take(count) {
            if let Some((_, busy)) = usize::try_from(event.data()).ok().and_then(|n| ports.get_mut(n)) {
                *busy = true;
            }
        }
    }
}

fn edges(index: usize) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, index as u64)
}
