//! A server that listens itself: in the place of the router, everybody gets the same grant.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use bus::interface::Interface;
use bus::server::{Answer, Event, Handover, Incoming, Interest, Server};
use bus::session::About;

/// The numbers of our own descriptors in the server's loop.
const LISTENER: u32 = 1;
const STOP: u32 = 2;

/// A server in a thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Served {
    /// As varlink libraries write it.
    pub address: String,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<()>>>,
    _dir: tempfile::TempDir,
}

/// Serves an interface to whoever connects, with these of its methods granted. After each turn `after` may answer what
/// was kept for later.
///
/// # Errors
/// Those of sockets.
pub fn serve<H: Send + 'static>(
    interface: &'static Interface,
    dispatch: fn(&mut H, Incoming<'_>) -> Answer,
    methods: &[&str],
    mut daemon: H,
    after: fn(&mut H, &mut Server<H>),
) -> Result<Served> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path)?;
    let (stop, stopped) = UnixStream::pair()?;
    let methods: Vec<String> = methods.iter().map(|m| (*m).to_owned()).collect();
    let thread = std::thread::spawn(move || {
        let about = About {
            vendor: "Gabion",
            product: "conformance",
            version: env!("CARGO_PKG_VERSION"),
            url: "https://varlink.org/",
        };
        let mut server = Server::new(about)?;
        server.offer(interface, dispatch);
        let read = Interest { read: true, write: false };
        server.watch(&listener, LISTENER, read)?;
        server.watch(&stopped, STOP, read)?;
        let (mut serial, mut events) = (0, Vec::new());
        loop {
            server.turn(&mut daemon, None, &mut events)?;
            after(&mut daemon, &mut server);
            for event in events.drain(..) {
                match event {
                    Event::Ready(STOP) => return Ok(()),
                    Event::Ready(_) => {
                        serial += 1;
                        let socket = OwnedFd::from(listener.accept()?.0);
                        server.adopt(grant(interface, &methods, serial), socket)?;
                    }
                    Event::Ended(_) => {}
                    Event::BadHandover(_, why) => anyhow::bail!(why),
                }
            }
        }
    });
    let address = format!("unix:{}", path.display());
    Ok(Served { address, stop: Some(stop), thread: Some(thread), _dir: dir })
}

fn grant(interface: &Interface, methods: &[String], serial: u64) -> Handover {
    Handover {
        serial,
        app: "com.example.caller".to_owned(),
        uid: 10_001,
        system: false,
        interface: interface.name.to_owned(),
        methods: methods.to_vec(),
        message_bytes: 65_536,
    }
}

/// All methods of an interface.
pub fn all(interface: &Interface) -> Vec<&'static str> {
    interface.methods.iter().map(|m| m.name).collect()
}

impl Served {
    /// Where it listens.
    pub fn path(&self) -> &Path {
        Path::new(self.address.trim_start_matches("unix:"))
    }

    /// Ends it.
    ///
    /// # Errors
    /// What it failed with.
    pub fn finish(mut self) -> Result<()> {
        self.stop = None;
        let thread = self.thread.take().context("ended twice")?;
        thread.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
    }
}
