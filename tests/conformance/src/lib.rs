//! What the conformance tests share: the certification service and its client on our library, a place where a server
//! listens without a router, and the Python package that has the public ones.

pub mod caller;
pub mod listen;
pub mod manager;
pub mod python;
pub mod service;

include!(concat!(env!("OUT_DIR"), "/certification.rs"));
