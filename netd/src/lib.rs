//! `netd`: the network an app was granted, and no other.
//!
//! One thread, one tokio runtime. What the parts tell each other goes through two types: [`apps::AppPolicy`], what an
//! app was granted, and [`state::NetState`], what the links learnt.

pub mod apps;
pub mod config;
pub mod daemon;
pub mod dns;
mod early;
pub mod link;
pub mod mdns;
pub mod names;
pub mod policies;
pub mod rules;
pub mod serve;
pub mod state;
pub mod time;
