//! The acts `gabion explain` can be asked about, as words on a command line.

use clap::Subcommand;
use policy::{AbsolutePath, Act, HostPort, Invalid, Port};

/// An act as it was typed.
#[derive(Subcommand)]
pub(crate) enum Asked {
    /// Open a file.
    Open {
        /// Where, in the box.
        path: String,
        /// To change it.
        #[arg(long)]
        write: bool,
        /// To run it.
        #[arg(long)]
        execute: bool,
    },
    /// Reach a host.
    Connect {
        /// `host:port/tcp` or `host:port/udp`.
        target: String,
    },
    /// Be reached.
    Listen {
        /// `port/tcp` or `port/udp`.
        port: String,
    },
    /// Make a system call.
    Syscall {
        /// Its name or number.
        call: String,
    },
    /// Call a method on the bus.
    Bus {
        /// `os.gabion.Update`, say.
        interface: String,
        /// `Defer`, say.
        method: String,
    },
}

impl Asked {
    /// The act, checked.
    pub(crate) fn parse(self) -> Result<Act, Invalid> {
        Ok(match self {
            Asked::Open { path, write, execute } => {
                Act::Open { path: AbsolutePath::try_from(path)?, write, execute }
            }
            Asked::Connect { target } => {
                let target: HostPort = target.parse()?;
                Act::Connect { host: target.host().clone(), port: target.port() }
            }
            Asked::Listen { port } => Act::Listen { port: port.parse::<Port>()? },
            Asked::Syscall { call } => Act::Syscall(call),
            Asked::Bus { interface, method } => {
                Act::Bus { interface: interface.parse()?, method: method.parse()? }
            }
        })
    }
}
