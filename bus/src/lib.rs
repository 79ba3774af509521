//! The capability-checked bus: what its parties share.
//!
//! A capability is a connected socket. Who connects is known from *where* it connected: a listening socket made for
//! that app and that interface. The router accepts, checks, records and hands the connection to whoever serves the
//! interface; from then on the two talk directly.
//!
//! ```text
//! caller's box                    router (busd)                     server's box
//! /run/bus/INTERFACE  ──connect──▶ accept, check, record
//!                                  │ Store ──▶ sandboxd keeps a duplicate
//!                                  └─ handover: grant + descriptor ──▶ /run/serve/INTERFACE
//!        ◀────────────── varlink, directly ──────────────▶
//! ```
//!
//! [`control`] is what `sandboxd` and the router say to each other; [`handover`] is what the router says to a server;
//! [`desk`] is what `appsd`, which serves the system's own interfaces, asks of `sandboxd`.

pub mod control;
pub mod desk;
pub mod handover;
