//! x
pub mod boxroot;
pub mod builder;
pub mod cgroup;
pub mod clock;
pub mod devices;
pub mod line;
pub mod network;
pub mod notify;
mod notify_socket;
pub mod problem;
pub mod rate;
pub mod registry;
pub mod rules;
