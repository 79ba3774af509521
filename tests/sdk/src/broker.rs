//! A stand-in for an MQTT broker (3.1.1): it takes what is published, says that it did, and keeps it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::world::PATIENCE;

/// What was published: topic and message.
pub type Published = (String, String);

/// See the module.
#[derive(Debug)]
pub struct Broker {
    /// Where it listens, on the loopback.
    pub port: u16,
    published: Receiver<Published>,
}

impl Broker {
    /// Listens at a port of its own.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (sender, published) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || serve(stream, &sender));
            }
        });
        Ok(Self { port, published })
    }

    /// The next message that was published.
    ///
    /// # Errors
    /// There is none for a long time.
    pub fn next(&self) -> Result<Published> {
        self.published.recv_timeout(PATIENCE).context("nothing was published")
    }
}

/// One client: CONNECT, then PUBLISH with QoS 1 and PINGREQ.
fn serve(mut stream: TcpStream, published: &Sender<Published>) -> Result<()> {
    let (kind, body) = packet(&mut stream)?;
    ensure!(kind == 0x10 && body.starts_with(b"\0\x04MQTT\x04"), "no CONNECT");
    stream.write_all(&[0x20, 2, 0, 0])?;
    loop {
        let (kind, body) = packet(&mut stream)?;
        match kind {
            0x32 => {
                let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8(body[2..2 + length].to_vec())?;
                let message = String::from_utf8(body[4 + length..].to_vec())?;
                stream.write_all(&[0x40, 2, body[2 + length], body[3 + length]])?;
                published.send((topic, message))?;
            }
            0xc0 => stream.write_all(&[0xd0, 0])?,
            _ => return Ok(()),
        }
    }
}

fn packet(stream: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}
