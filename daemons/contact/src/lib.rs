//! How a daemon reaches the Security Service.
//!
//! | file | |
//! |---|---|
//! | `config` | `service.toml`: which service, and whom to believe |
//! | `lookup` | its addresses, from netd |
//! | `dial` | a connection to the first of them that answers |
//! | `tls` | whom to trust on the way |
//! | `http` | requests to it |
//!
//! Who the device is in a request, and what is said, is the daemons' own.

pub mod config;
pub mod dial;
pub mod http;
pub mod lookup;
pub mod tls;
