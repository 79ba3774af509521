//! `kill -9` to the router, again and again, while calls go on over established connections and new ones are opened.

use anyhow::{Result, ensure};

use super::boxed::Boxed;
use super::scene::{Scene, start};
use crate::stat::bar;

/// Over all callers' boxes.
const CONNECTIONS: usize = 50;
const CALLS: usize = 100_000;
/// So often, each time while one part of the calls is under way.
const KILLS: usize = 10;

/// Measures and reports.
pub(super) fn run(scene: &mut Scene) -> Result<()> {
    let boxes = scene.callers.len();
    let [connections, calls] = [CONNECTIONS / boxes, CALLS / boxes / KILLS].map(|n| n.to_string());
    let callers = scene.callers.iter().map(|caller| start(caller, &["bus-storm", &connections, &calls]));
    let mut callers = callers.collect::<Result<Vec<_>>>()?;
    let mut knocker = scene.call(&["bus-knock"])?;
    knocker.ask()?;
    let (mut lost, mut opened, mut failed) = (0, 0, 0);
    for _ in 0..KILLS {
        callers.iter_mut().try_for_each(Boxed::ask)?;
        scene.router.kill()?;
        for caller in &mut callers {
            // It would wait if nobody took its answers.
            while !caller.has_answer(5)? {
                while knocker.has_answer(0)? {
                    opened += 1;
                    failed += knocker.answer()?;
                }
            }
            lost += caller.answer()?;
        }
    }
    ensure!(opened > 0, "no new connection was tried");
    println!(
        "bus: {CALLS} calls on {CONNECTIONS} connections while the router was killed {KILLS} times: {lost} lost; \
         {opened} new connections meanwhile, {failed} failed"
    );
    bar("router_killed_lost", (lost + failed) as f64, 0.0);
    Ok(())
}
