//! Permits: leave for one developer's key to put apps onto one device, for a time. Pure: no clock, no file, no socket.
//!
//! | module | |
//! |---|---|
//! | [`text`] | a permit as it travels: a JWT (RFC 7519) signed by the catalog's authority |
//! | [`developer`] | whose it is: a certificate and its key |
//! | [`book`] | what a device makes of one, and what it remembers |
//! | [`refusal`] | why not, in words |
//!
//! What an attacker controls here is the text of a permit, and, to some degree, the device's clock.

pub mod book;
pub mod developer;
pub mod refusal;
pub mod text;

pub use book::{Book, Ground, Taken, Way};
pub use developer::Developer;
pub use refusal::Refusal;
pub use text::{Claimed, Permit, Terms};
