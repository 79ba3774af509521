//! `kill -9` to the router, again and again, while calls go on over established connections and new ones are opened.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::scene::{Scene, start};
use crate::stat::bar;

/// Over all callers' boxes.
const CONNECTIONS: usize = 50;
const CALLS: usize = 100_000;
/// From one kill to the next.
const BETWEEN: Duration = Duration::from_millis(150);
/// Fewer would not say anything.
const KILLS_MIN: usize = 3;

/// Measures and reports.
pub(super) fn run(scene: &mut Scene) -> Result<()> {
    let boxes = scene.callers.len();
    let [connections, calls] = [CONNECTIONS / boxes, CALLS / boxes].map(|n| n.to_string());
    let callers = scene.callers.iter().map(|caller| start(caller, &["bus-storm", &connections, &calls]));
    let mut callers = callers.collect::<Result<Vec<_>>>()?;
    let mut knocker = scene.call(&["bus-knock"])?;
    for program in callers.iter_mut().chain([&mut knocker]) {
        program.ask()?;
    }
    let (mut opened, mut failed, mut kills) = (0, 0, 0);
    let mut over = vec![false; callers.len()];
    let mut next_kill = Instant::now() + BETWEEN;
    while over.contains(&false) {
        while knocker.has_answer(1)? {
            opened += 1;
            failed += knocker.answer()?;
        }
        if Instant::now() >= next_kill {
            scene.router.kill()?;
            kills += 1;
            next_kill = Instant::now() + BETWEEN;
        }
        for (caller, over) in callers.iter().zip(&mut over) {
            *over |= caller.has_answer(0)?;
        }
    }
    let lost = callers.iter_mut().map(|caller| caller.answer()).sum::<Result<u64>>()?;
    ensure!(kills >= KILLS_MIN, "the calls were over after {kills} kills");
    println!(
        "bus: {CALLS} calls on {CONNECTIONS} connections while the router was killed {kills} times: {lost} lost; \
         {opened} new connections meanwhile, {failed} failed"
    );
    bar("router_killed_lost", (lost + failed) as f64, 0.0);
    Ok(())
}
