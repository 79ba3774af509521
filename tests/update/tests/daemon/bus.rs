//! Who calls the daemon: lines of JSON, as on the bus.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use ::bus::interfaces::update;
use ::bus::server::{Handover, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use updated::serve::{self, Serve};

use super::world::World;

/// A connection that waits for the daemon's next start.
pub(crate) struct Caller {
    app: &'static str,
    system: bool,
    socket: OwnedFd,
}

/// Its other end.
pub(crate) struct Client {
    socket: Mutex<UnixStream>,
    read: RefCell<Vec<u8>>,
}

impl World {
    /// A connection of an app, or of the device's owner, to the daemon once it starts.
    pub(crate) fn caller(&self, app: &'static str, system: bool) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let socket = theirs.into_std().unwrap().into();
        self.board.callers.borrow_mut().push(Caller { app, system, socket });
        Client { socket: Mutex::new(ours), read: RefCell::default() }
    }

    /// The daemon's server, with those that wait.
    pub(crate) fn bus(&self) -> Server<Serve> {
        let mut server = serve::server().unwrap();
        server.offer(&update::INTERFACE, update::dispatch);
        for (serial, caller) in self.board.callers.take().into_iter().enumerate() {
            let handover = Handover {
                serial: serial as u64 + 1,
                app: caller.app.to_owned(),
                uid: 10_000 + serial as u32,
                system: caller.system,
                interface: update::INTERFACE.name.to_owned(),
                methods: update::INTERFACE.methods.iter().map(|method| method.name.to_owned()).collect(),
                message_bytes: 65_536,
            };
            server.adopt(handover, caller.socket).unwrap();
        }
        server
    }
}

impl Client {
    /// Calls a method; its answer's parameters, or the name of the error and its.
    pub(crate) async fn call(&self, method: &str, parameters: Value) -> Result<Value, (String, Value)> {
        self.send(method, parameters, false).await;
        self.next().await
    }

    pub(crate) async fn send(&self, method: &str, parameters: Value, more: bool) {
        let call =
            json!({"method": format!("os.gabion.Update.{method}"), "parameters": parameters, "more": more});
        let mut bytes = serde_json::to_vec(&call).unwrap();
        bytes.push(0);
        self.socket.lock().await.write_all(&bytes).await.unwrap();
    }

    /// The next answer.
    pub(crate) async fn next(&self) -> Result<Value, (String, Value)> {
        loop {
            let end = self.read.borrow().iter().position(|byte| *byte == 0);
            if let Some(end) = end {
                let line: Vec<u8> = self.read.borrow_mut().drain(..=end).collect();
                let answer: Value = serde_json::from_slice(&line[..end]).unwrap();
                let parameters = answer["parameters"].clone();
                return match answer["error"].as_str() {
                    None => Ok(parameters),
                    Some(error) => Err((error.rsplit('.').next().unwrap().to_owned(), parameters)),
                };
            }
            let mut chunk = [0; 4096];
            let length = self.socket.lock().await.read(&mut chunk).await.unwrap();
            assert!(length > 0, "the daemon is gone");
            self.read.borrow_mut().extend_from_slice(&chunk[..length]);
        }
    }
}
