//! `appsd`: serves the system's own interfaces on the bus.
//!
//! An attacker controls what callers send, which the bus's library has bounded and checked against their grants, and
//! may take this process over by it: then they have what it has, the desk (`bus::desk`), and nothing else.
//!
//! A call is kept until `sandboxd` has answered what had to be asked for it ([`waiting`]); nothing here waits.

mod apps;
mod appsd;
mod audit;
mod bus_interface;
mod crashes;
mod debug;
mod developer;
mod device;
mod follow;
mod link;
mod power;
mod records;
mod waiting;

use bus::interfaces as on_bus;
use bus::server::{Event, Interest, Server};
use bus::session::About;

use crate::appsd::Appsd;

/// The number of the desk's descriptor in the loop.
const DESK: u32 = 0;
/// That of a debugger's server.
pub(crate) const DEBUGGED: u32 = 1;
/// How soon a question that did not fit into the desk's socket is tried again, milliseconds.
const RETRY_MS: u64 = 20;

fn main() -> std::io::Result<()> {
    let about = About { vendor: "Gabion", product: "appsd", version: env!("CARGO_PKG_VERSION"), url: "" };
    let mut server = Server::new(about)?;
    let mut appsd = Appsd::new();
    server.watch(&appsd.link, DESK, Interest { read: true, write: false })?;
    server.serve(&on_bus::apps::INTERFACE, on_bus::apps::dispatch);
    server.serve(&on_bus::audit::INTERFACE, on_bus::audit::dispatch);
    server.serve(&on_bus::bus::INTERFACE, on_bus::bus::dispatch);
    server.serve(&on_bus::crashes::INTERFACE, on_bus::crashes::dispatch);
    server.serve(&on_bus::developer::INTERFACE, on_bus::developer::dispatch);
    server.serve(&on_bus::device::INTERFACE, on_bus::device::dispatch);
    server.serve(&on_bus::power::INTERFACE, on_bus::power::dispatch);
    let mut events = Vec::new();
    loop {
        let wait = appsd.link.is_waiting().then_some(RETRY_MS);
        server.turn(&mut appsd, wait, &mut events)?;
        appsd.link.flush();
        for event in events.drain(..) {
            match event {
                Event::Ready(DEBUGGED) => appsd.debug_output(&mut server),
                Event::Ready(_) => appsd.desk(&mut server),
                Event::Ended(call) => appsd.gone(call),
                Event::BadHandover(interface, why) => eprintln!("{interface}: {why}"),
            }
        }
    }
}
