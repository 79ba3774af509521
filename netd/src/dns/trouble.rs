//! Why no server said anything that can be used.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio_rustls::rustls;

/// Why a name could not be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Neither the configuration nor a link names a server.
    NoServer,
    /// The network, or who is to be asked, was another again before anybody could answer.
    Unsettled,
    /// What was wrong with one server, the most telling of all that were asked.
    Server(SocketAddr, Fault),
}

/// What was wrong with a server; later ones say more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It did not answer in time.
    Silent,
    /// No connection to it.
    Unreachable(io::ErrorKind),
    /// What it said is no answer, or too long.
    Nonsense,
    /// It can not or will not say.
    Unable,
    /// It could not be authenticated; why, for people.
    Certificate(String),
}

impl Fault {
    /// Whether the server is to blame, and better not asked for a while: not for a name that it can not find, and not for a
    /// network that is not there.
    pub(super) fn is_the_servers(&self) -> bool {
        use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
        match self {
            Self::Unable => false,
            Self::Unreachable(kind) => !matches!(kind, NetworkUnreachable | NetworkDown | HostUnreachable),
            Self::Silent | Self::Nonsense | Self::Certificate(_) => true,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match of_tls {
            Some(rustls::Error::InvalidCertificate(why)) => Self::Certificate(why.to_string()),
            Some(_) => Self::Nonsense,
            None => match error.kind() {
                io::ErrorKind::TimedOut => Self::Silent,
                kind => Self::Unreachable(kind),
            },
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer => f.write_str("no name server is known"),
            Self::Unsettled => f.write_str("the network is changing"),
            Self::Server(server, fault) => write!(f, "name server {server}: {fault}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("no answer"),
            Self::Unreachable(kind) => write!(f, "{kind}"),
            Self::Nonsense => f.write_str("what it says is no answer"),
            Self::Unable => f.write_str("it can not say"),
            Self::Certificate(why) => write!(f, "its certificate is refused: {why}"),
        }
    }
}
