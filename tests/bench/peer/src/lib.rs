//! What the bench and the programs that it starts in boxes have in common.

pub mod dbus;
pub mod interface;
