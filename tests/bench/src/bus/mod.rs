//! Part `bus`: what a call, a connection and the router cost, beside bare sockets and other people's brokers.
//!
//! Everything that talks is a program in a box built by `sandboxd`'s builder, our own callers and server as much as the
//! bare ones and those of the brokers, so that all pay the same filter; the brokers themselves run unboxed, as their
//! users have them. All processes are pinned to one CPU: where a second one is idle, its wake-up is what is measured.

mod boxed;
mod brokers;
mod calls;
mod controller;
mod footprint;
mod killed;
mod manager;
mod opening;
mod pinned;
mod router;
mod scene;

use anyhow::Result;

use pinned::Pinned;
use scene::Scene;

/// Measures and reports.
pub(crate) fn run(rounds: usize) -> Result<()> {
    let _pinned = Pinned::here()?;
    let mut scene = Scene::build()?;
    calls::run(&scene, rounds)?;
    opening::run(&scene, rounds / 4)?;
    footprint::run(&mut scene)?;
    killed::run(&mut scene)
}
