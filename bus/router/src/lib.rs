//! The capability router. [`core`] decides, [`shell`] does.
//!
//! The router stands between everybody and reads nothing that an app says but servers' one-line reports
//! (`bus::handover`). It holds no Linux capability; what makes it powerful is that every connection of the bus passes
//! through its hands once.

mod bucket;
pub mod core;
pub mod shell;
