//! Where the device is: its sockets, and one that nobody else talks on; or its door.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::devport;
use nix::fcntl::{Flock, FlockArg};

use super::door;
use super::error::Error;

/// Where `make run` has its device, below the tree.
const SOCKET: &str = "target/image/device.sock";
/// Longest path of a socket, bytes, without the zero at its end.
const PATH_MAX: usize = 107;
/// What the place of a door begins with.
const DOOR: &str = "tls://";

/// A device that was looked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// On the machine that it runs on, by the first of its sockets.
    Port(PathBuf),
    /// Behind its door, at `HOST:PORT`.
    Door(String),
}

impl Found {
    fn at(place: PathBuf) -> Self {
        match place.to_str().and_then(|text| text.strip_prefix(DOOR)) {
            Some(at) => Self::Door(at.to_owned()),
            None => Self::Port(place),
        }
    }

    /// Who on the device asks on our behalf.
    pub(crate) fn app(&self) -> &'static str {
        match self {
            Self::Port(_) => devport::APP,
            Self::Door(_) => devport::DOOR,
        }
    }

    /// A way in that nobody else uses.
    pub(crate) fn claim(&self, patience: Duration) -> Result<Claimed, Error> {
        match self {
            Self::Port(first) => claim(first),
            Self::Door(at) => {
                let stream = door::connect(at, patience).map_err(Error::Door)?;
                Ok(Claimed { stream: Stream::Door(Box::new(stream), at.clone()), _lock: None })
            }
        }
    }
}

/// A connection to a device.
pub(crate) enum Stream {
    /// One of its ports.
    Port(UnixStream),
    /// Its door, and where that is.
    Door(Box<door::Stream>, String),
}

impl Stream {
    /// How long a read may take, and a write.
    pub(crate) fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Port(stream) => {
                stream.set_read_timeout(read)?;
                stream.set_write_timeout(write)
            }
            Self::Door(stream, _) => {
                stream.sock.set_read_timeout(read)?;
                stream.sock.set_write_timeout(write)
            }
        }
    }

    /// What a failure of this connection means.
    pub(crate) fn failed(&self, error: io::Error) -> Error {
        match self {
            Self::Door(_, at) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                Error::Door(door::explained(error, at))
            }
            _ => error.into(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Port(stream) => stream.read(buffer),
            Self::Door(stream, _) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Port(stream) => stream.write(bytes),
            Self::Door(stream, _) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Port(stream) => stream.flush(),
            Self::Door(stream, _) => stream.flush(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Self::Door(stream, _) = self {
            // That this is the end and no cut: whoever is gone need not hear it.
            stream.conn.send_close_notify();
            let _ = stream.flush();
            let _ = stream.sock.shutdown(Shutdown::Both);
        }
    }
}

/// A port of a device that is ours until this is dropped.
pub(crate) struct Claimed {
    /// Connected.
    pub(crate) stream: Stream,
    _lock: Option<Flock<File>>,
}

/// The device: as named, as `GABION_DEVICE` says, or that of the tree that we are in.
pub(crate) fn find(named: Option<PathBuf>) -> Result<Found, Error> {
    if let Some(path) =
        named.or_else(|| env::var_os("GABION_DEVICE").filter(|v| !v.is_empty()).map(Into::into))
    {
        return Ok(Found::at(path));
    }
    let here = env::current_dir().map_err(Error::Io)?;
    let found = here.ancestors().map(|folder| folder.join(SOCKET)).find(|path| path.exists());
    found
        .map(Found::Port)
        .ok_or_else(|| Error::NoDevice(format!("no {SOCKET} in {} or above it", here.display())))
}

/// Takes the first port that nobody uses.
pub(crate) fn claim(first: &Path) -> Result<Claimed, Error> {
    for socket in devport::sockets(first) {
        // A port is one reader's: what the host sends to a second one waits for the first to go, without a word.
        let Some(lock) = lock(&socket)? else { continue };
        let stream = connect(&socket).map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Error::NoDevice(format!("nothing listens on {}", socket.display()))
            }
            _ => Error::Io(e),
        })?;
        return Ok(Claimed { stream: Stream::Port(stream), _lock: Some(lock) });
    }
    Err(Error::Busy)
}

fn lock(socket: &Path) -> Result<Option<Flock<File>>, Error> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::NoDevice(format!("{} is in no folder", socket.display())),
        _ => Error::Io(e),
    })?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EAGAIN)) => Ok(None),
        Err((_, errno)) => Err(Error::Io(errno.into())),
    }
}

/// A path that is too long for a socket is reached by its folder's descriptor.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    if socket.as_os_str().len() <= PATH_MAX {
        return UnixStream::connect(socket);
    }
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(ErrorKind::NotFound.into());
    };
    let folder = File::open(folder)?;
    UnixStream::connect(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn claim_takes_another_port_each_time_and_says_when_none_is_left() {
        let place = tempfile::tempdir().unwrap();
        let first = place.path().join("device.sock");
        let _listeners: Vec<_> = devport::sockets(&first).map(|s| UnixListener::bind(s).unwrap()).collect();
        let mut claimed: Vec<_> = (0..devport::PORTS).map(|_| claim(&first).unwrap()).collect();
        assert!(matches!(claim(&first), Err(Error::Busy)));
        claimed.pop();
        claim(&first).unwrap();
    }

    #[test]
    fn claim_without_a_device_says_so() {
        let place = tempfile::tempdir().unwrap();
        for path in ["device.sock", "no/such/folder/device.sock"] {
            assert!(matches!(claim(&place.path().join(path)), Err(Error::NoDevice(_))), "{path}");
        }
    }

    #[test]
    fn connect_reaches_a_socket_whose_path_is_too_long() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a".repeat(PATH_MAX));
        std::fs::create_dir(&folder).unwrap();
        let through = File::open(&folder).unwrap();
        let short = Path::new("/proc/self/fd").join(through.as_raw_fd().to_string()).join("device.sock");
        let _listener = UnixListener::bind(short).unwrap();
        connect(&folder.join("device.sock")).unwrap();
    }
}
