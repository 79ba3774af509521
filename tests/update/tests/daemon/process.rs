//! The daemon as a process of its own: what it takes of memory while it fetches, and when it waits.
//!
//! With `GABION_TRACE` set to a file, `strace` writes there which calls it makes.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use service_api::updates::Stage;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::clock;
use super::world::World;

/// Memory that it may have while it applies, and when it waits, KiB. The program here is not the device's: it is dynamic, and
/// neither optimised nor small, so what lies in files does not count.
const APPLYING_KIB: u64 = 16 << 10;
const IDLE_KIB: u64 = 3 << 10;

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// What it has of memory of its own, KiB.
    fn anonymous_kib(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("a process")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl World {
    fn start(&self) -> Process {
        let program = env!("CARGO_BIN_EXE_updated");
        let mut command = match std::env::var_os("GABION_TRACE") {
            None => Command::new(program),
            Some(file) => {
                let mut strace = Command::new("strace");
                strace.args(["-f", "-qq", "-A", "-o"]).arg(file).arg(program);
                strace
            }
        };
        let link = self.board.link();
        Process(command.arg(self.board.folder.path().join("storage")).stdin(link).spawn().unwrap())
    }
}

#[test]
fn process_updates_the_system_within_its_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        clock::begin();
        let world = World::now().await;
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        let mut process = world.start();
        let (began, mut most_kib) = (Instant::now(), 0);
        while world.board.booted.get() == 0 {
            sleep(Duration::from_millis(20)).await;
            most_kib = most_kib.max(process.anonymous_kib().unwrap());
            assert!(began.elapsed() < Duration::from_secs(120), "{:?}", world.board.said.borrow());
        }
        drop(process);
        process = world.start();
        while !world.knows(&path, Stage::Complete) {
            sleep(Duration::from_millis(100)).await;
            assert!(began.elapsed() < Duration::from_secs(180), "{:?}", world.board.said.borrow());
        }
        // It gives back what it took as soon as it gets to it.
        let said = Instant::now();
        let mut idle_kib = process.anonymous_kib().unwrap();
        while idle_kib > IDLE_KIB && said.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(100)).await;
            idle_kib = process.anonymous_kib().unwrap();
        }
        println!("updated: {most_kib} KiB while it applies, {idle_kib} KiB when it waits");
        assert!(most_kib <= APPLYING_KIB && idle_kib <= IDLE_KIB, "{most_kib} {idle_kib}");
        assert_eq!(world.board.version(), "1.2");
    });
}
