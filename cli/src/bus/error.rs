//! What can go wrong with a device, and what to do about it.

use std::fmt;
use std::io;

/// Why a question could not be asked. What the device *answers*, refusals included, is no error here.
#[derive(Debug)]
pub(crate) enum Error {
    /// There is none where it was looked for.
    NoDevice(String),
    /// Every port is in use.
    Busy,
    /// It does not answer.
    Silent,
    /// It was switched off, or the machine ended.
    Ended,
    /// The developer port refused to connect to an interface.
    Refused(String),
    /// Whoever serves the interface has ended the connection.
    Closed,
    /// What came is no reply.
    NotAReply(String),
    /// The device's door does not open, and why.
    Door(anyhow::Error),
    /// A file, or the socket.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice(why) => {
                write!(f, "no device: {why}; start one with `make run`, or name its socket with --device")
            }
            Self::Busy => {
                let ports = bus::devport::PORTS;
                write!(f, "{ports} others talk to this device already, which is the most at a time")
            }
            Self::Silent => f.write_str(
                "the device does not answer: it may still be starting, or run a production image, which lets nobody in",
            ),
            Self::Ended => f.write_str("the device was switched off"),
            Self::Refused(why) => f.write_str(why),
            Self::Closed => f.write_str("the connection was closed without an answer"),
            Self::NotAReply(why) => write!(f, "the device sent what is no reply: {why}"),
            Self::Door(why) => write!(f, "{why:#}"),
            Self::Io(_) => f.write_str("the connection to the device failed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                Self::Ended
            }
            _ => Self::Io(error),
        }
    }
}
