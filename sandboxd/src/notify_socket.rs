//! One box's notify socket: a datagram socket in a directory that only this box sees, as its `/run`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Makes `dir/notify` anew, writable for `uid` alone, and the socket that listens on it (non-blocking).
pub(crate) fn make(dir: &Path, uid: u32) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    let path = dir.join("notify");
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = UnixDatagram::bind(&path)?;
    socket.set_nonblocking(true)?;
    chown(&path, Some(uid), Some(uid))?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(socket.into())
}
