//! The server: connections that the router hands over, calls to a daemon, replies.
//!
//! One thread and one epoll, which the daemon shares: it adds its own descriptors with [`Server::watch`], has its
//! timers as the time [`Server::turn`] may wait, and answers calls at once or later. The epoll is itself a
//! descriptor ([`Server::as_fd`]), so that another loop can watch it.
//!
//! ```no_run
//! use bus::interfaces::power::{self, Handler, PowerOff, PowerOffParameters, Reboot, RebootParameters};
//! use bus::server::{Answer, Call, Pending, Server};
//! use bus::session::About;
//!
//! struct Daemon { asked: Option<Pending<Reboot>> }
//!
//! impl Handler for Daemon {
//!     fn reboot(&mut self, call: Call<'_, Reboot>, _: RebootParameters<'_>) -> Answer {
//!         if self.asked.is_some() {
//!             return call.fail(&power::Error::Busy {});
//!         }
//!         let (pending, answer) = call.later();
//!         self.asked = Some(pending);
//!         answer
//!     }
//!     fn power_off(&mut self, call: Call<'_, PowerOff>, _: PowerOffParameters<'_>) -> Answer {
//!         call.reply(&bus::interface::Empty {})
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let about = About { vendor: "Example", product: "powerd", version: "1", url: "https://example.com" };
//! let mut server = Server::new(about)?;
//! server.serve(&power::INTERFACE, power::dispatch);
//! let (mut daemon, mut events) = (Daemon { asked: None }, Vec::new());
//! loop {
//!     server.turn(&mut daemon, None, &mut events)?;
//!     for event in events.drain(..) { /* the daemon's own descriptors, callers that went away */ }
//!     if let Some(pending) = daemon.asked.take() {
//!         server.finish(pending, &bus::interface::Empty {});
//!     }
//! }
//! # }
//! ```
//!
//! What an attacker controls here is every byte on a connection, and when it comes. What holds is in [`session`].
//!
//! [`session`]: crate::session

mod call;
mod connection;
mod handed;
mod link;
mod poll;
mod shell;
mod slots;

pub(crate) use call::Outcome;
pub use call::{Answer, Call, CallId, Incoming, Pending};
pub use handed::{FromRouter, Handover, Monitor, read as read_handover};
pub use poll::Interest;
pub use shell::{Event, Server};
use slots::GENERATION_MAX;
pub use slots::Place;
