//! The floor: bytes over a connected `SOCK_STREAM` socket and back, one `write` and one `read` on each side.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Result, ensure};

use crate::ask;
use crate::payload;

/// A byte that says how the message goes on: its length follows. Told once per connection, so that no message has one.
type Length = [u8; 8];

/// Answers whoever connects to `listener`, one after the other: with the same bytes, or, where there are more than a
/// message has room for, with eight that they add up to.
pub(crate) fn serve(listener: &UnixListener) -> Result<()> {
    ask::ready()?;
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut length: Length = [0; 8];
        if stream.read_exact(&mut length).is_ok() {
            // Its end is how a client says that it is done.
            let _ = echo(&mut stream, usize::try_from(u64::from_ne_bytes(length))?);
        }
    }
}

fn echo(stream: &mut UnixStream, length: usize) -> Result<()> {
    let mut message = vec![0; length];
    loop {
        stream.read_exact(&mut message)?;
        if length > payload::ECHOED_MAX {
            stream.write_all(&payload::sum(&message).to_ne_bytes())?;
        } else {
            stream.write_all(&message)?;
        }
    }
}

/// Rounds of `calls` ping-pongs of `length` bytes.
pub(crate) fn call(path: &Path, length: usize, calls: u32) -> Result<()> {
    let (mut stream, message) = (open(path, length)?, payload::bytes(length));
    let mut reply = vec![0; if length > payload::ECHOED_MAX { 8 } else { length }];
    let expected = payload::sum(&message).to_ne_bytes();
    ask::rounds(calls, || {
        stream.write_all(&message)?;
        stream.read_exact(&mut reply)?;
        ensure!(reply == message || reply == expected, "another reply than was expected");
        Ok(())
    })
}

/// Rounds of `calls` connections, each with one ping-pong.
pub(crate) fn connect(path: &Path, length: usize, calls: u32) -> Result<()> {
    let message = payload::bytes(length);
    let mut reply = vec![0; length];
    ask::rounds(calls, || {
        let mut stream = open(path, length)?;
        stream.write_all(&message)?;
        Ok(stream.read_exact(&mut reply)?)
    })
}

fn open(path: &Path, length: usize) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(&(length as u64).to_ne_bytes())?;
    Ok(stream)
}
