//! Bytes between gdb, on a socket of this machine, and its server on the device.
//!
//! What the device sends is bounded by the session, and is gdb's to judge. Neither side is waited for longer than the other
//! is there: gdb's end ends it, and so does the device's.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{LOOK, refused};
use crate::bus::{Next, Talk};

/// Read from gdb at once, bytes; each may become six.
const CHUNK: usize = 4 << 10;

/// Carries until `debugger`, which connects to the socket, has ended.
pub(super) fn carry<T>(
    app: &str,
    (output, input): (Talk, Talk),
    (listener, socket): (&UnixListener, &Path),
    debugger: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let bridge = scope.spawn(|| bridge(app, output, input, listener, &over));
        let ended = debugger();
        over.store(true, Ordering::Relaxed);
        // One that never connected is waited for still.
        drop(UnixStream::connect(socket));
        let carried = bridge.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the bridge to gdb broke down")));
        let ended = ended?;
        carried.map(|()| ended)
    })
}

fn bridge(app: &str, output: Talk, input: Talk, listener: &UnixListener, over: &AtomicBool) -> Result<()> {
    let (stream, _) = listener.accept().context("waiting for gdb")?;
    if over.load(Ordering::Relaxed) {
        return Ok(());
    }
    let from = stream.try_clone().context("talking to gdb")?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let written = to_device(app, from, input);
            over.store(true, Ordering::Relaxed);
            written
        });
        let read = from_device(output, &stream, over);
        // gdb hears that it is over, and so does who waits for its next word.
        let _ = stream.shutdown(Shutdown::Both);
        let written = writer.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the bridge to gdb broke down")));
        read.and(written)
    })
}

fn from_device(mut output: Talk, mut stream: &UnixStream, over: &AtomicBool) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        match output.next(LOOK)? {
            Next::Reply(reply) => {
                let text = reply.get("output").and_then(Value::as_str).unwrap_or_default();
                let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
                // One that is gone needs it no more.
                if stream.write_all(&bytes.context("the device sent what are no bytes")?).is_err() {
                    return Ok(());
                }
            }
            Next::Nothing => {}
            Next::Over => return Ok(()),
        }
    }
    Ok(())
}

fn to_device(app: &str, mut from: UnixStream, mut input: Talk) -> Result<()> {
    let mut bytes = [0; CHUNK];
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => bytes.get(..read).unwrap_or_default(),
        };
        let text: String = read.iter().map(|byte| char::from(*byte)).collect();
        match input.call("DebugInput", &json!({ "app": app, "input": text }))? {
            Ok(_) => {}
            // The server has ended; the other direction hears it.
            Err((name, _)) if name == "NotDebugged" => return Ok(()),
            Err(error) => return Err(refused(error)),
        }
    }
}
