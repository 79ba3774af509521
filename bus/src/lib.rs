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
//! | who | uses |
//! |---|---|
//! | `sandboxd`, router | [`control`] |
//! | router, servers | [`handover`] |
//! | `sandboxd`, `appsd` | [`desk`] |
//! | `sandboxd`, `netd` | [`network_link`] |
//! | `sandboxd`, `attestd` | [`attest_link`] |
//! | `sandboxd`, `updated` | [`update_link`] |
//! | a developer's host, `devport` | [`devport`] |
//! | a daemon or app that serves | [`server`], and [`interfaces`] or its own made by `gabion-bus-codegen` |
//! | a caller | the `Client` of an interface, on [`client`] |
//! | both, for what is large | [`bulk`] |
//!
//! The wire itself has no I/O: [`envelope`], [`input`], [`json`], [`output`] and [`session`] take bytes, time and descriptors as
//! arguments. [`server`] and [`client`] are the shells around them.

// What `gabion-bus-codegen` makes names this crate, be it used here or elsewhere.
extern crate self as bus;

pub mod attest_link;
pub mod bulk;
pub mod client;
pub mod control;
pub mod desk;
pub mod devport;
pub mod envelope;
pub mod handover;
pub mod input;
pub mod interface;
pub mod interfaces;
pub mod json;
pub mod network_link;
pub mod output;
mod packet;
pub mod server;
pub mod session;
pub mod update_link;

#[doc(hidden)]
pub use serde;
#[doc(hidden)]
pub use serde_json;
