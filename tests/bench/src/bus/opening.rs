//! Opening a connection through the router, beside a bare `connect` and `accept`.
//!
//! A connection is open when its server answers: each sample is the mean of a few connections in a row, each with one
//! call (bare: one ping-pong of the same payload) and closed again. What the router adds is therefore counted with all
//! of its work for a connection, closing it and `sandboxd`'s duplicate included, and with what a first call costs more
//! than a ping-pong.

use std::os::unix::net::UnixListener;

use anyhow::Result;

use super::scene::{Scene, in_box, listen};
use crate::stat::{Samples, bar};

const PAYLOAD: &str = "64";
/// Connections in a row.
const OPENS: &str = "10";
const WARM_UP: usize = 5;

/// Measures and reports.
pub(super) fn run(scene: &Scene, rounds: usize) -> Result<()> {
    let raw = scene.dir.path().join("raw-open");
    let listener = UnixListener::bind(&raw)?;
    scene.share(&raw)?;
    let _raw_server = listen(&scene.server, &["raw-server"], listener.into())?;
    let raw = in_box(&raw)?;
    let mut all = [
        (scene.call(&["raw-open", &raw, PAYLOAD, OPENS])?, Samples::default()),
        (scene.call(&["bus-open", PAYLOAD, OPENS])?, Samples::default()),
    ];
    println!("bus: open a connection, call once, close; {rounds} rounds of {OPENS} in turn");
    for round in 0..WARM_UP + rounds {
        for (program, samples) in &mut all {
            program.ask()?;
            let ns = program.answer()?;
            if round >= WARM_UP {
                samples.push(ns as f64 / 1000.0);
            }
        }
    }
    let [(_, raw), (_, ours)] = &all;
    raw.print("bare connect, accept, ping-pong");
    ours.print("through the router, first call");
    bar("bus_open_us", ours.median() - raw.median(), 150.0);
    Ok(())
}
