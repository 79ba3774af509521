//! An interface that the app serves to others, whose manifests name it below `[uses]` while this one's names them below
//! `[provides]`.
//!
//! The interface is a `.varlink` file. `gabion-bus-codegen` makes a module of it when the app is built, with a trait that has
//! a function for each method; what a caller may not call, or writes wrongly, never reaches it. In `build.rs`:
//!
//! ```ignore
//! let text = std::fs::read_to_string("com.example.Temperature.varlink")?;
//! let made = bus_codegen::module(&text)?;
//! std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("temperature.rs"), made)?;
//! ```
//!
//! Then, with an interface of the system in the place of the app's own:
//!
//! ```no_run
//! use bus::interfaces::power::{self, Handler, PowerOff, PowerOffParameters, Reboot, RebootParameters};
//! use bus::server::{Answer, Call};
//! use gabion::serve;
//!
//! struct Switch { asked: u32 }
//!
//! impl Handler for Switch {
//!     fn reboot(&mut self, call: Call<'_, Reboot>, parameters: RebootParameters<'_>) -> Answer {
//!         self.asked += 1;
//!         println!("{} asks, because {}", call.caller().app, parameters.reason);
//!         call.reply(&bus::interface::Empty {})
//!     }
//!     fn power_off(&mut self, call: Call<'_, PowerOff>, _: PowerOffParameters<'_>) -> Answer {
//!         call.fail(&power::Error::Busy {})
//!     }
//! }
//!
//! # async fn f() -> std::io::Result<()> {
//! let server = serve::server(serve::ABOUT, &power::INTERFACE, power::dispatch)?;
//! let (_later, answers) = serve::answers();
//! serve::run(server, Switch { asked: 0 }, answers).await
//! # }
//! ```
//!
//! An answer that has to be waited for is kept ([`Call::later`]) and sent to [`run`] by the sender of [`answers`]:
//! `later.send(Box::new(move |server| server.finish(pending, &reply)))`.
//!
//! [`Call::later`]: bus::server::Call::later

use std::io;

use bus::interface::Interface;
use bus::server::{Answer, Incoming, Server};
use bus::session::About;

pub use bus_tokio::{Done, answers, run, run_until};

/// What is said of a server that has nothing to say of itself.
pub const ABOUT: About = About { vendor: "", product: "", version: "", url: "" };

/// A server of `interface`, to be [`run`]. It finds the router whenever that is there.
///
/// # Errors
/// Those of `epoll_create1(2)`.
pub fn server<H>(
    about: About,
    interface: &'static Interface,
    dispatch: fn(&mut H, Incoming<'_>) -> Answer,
) -> io::Result<Server<H>> {
    let mut server = Server::new(about)?;
    server.serve_at(interface, dispatch, &crate::place("GABION_SERVE", "/run/serve").join(interface.name));
    Ok(server)
}
