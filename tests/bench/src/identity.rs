//! Part `identity`: what the Security Service costs.
//!
//! The service is built as it is shipped (profile `service`), which this program is not, so its own example does the work
//! (`service/examples/rounds`) and says numbers, which are held against their limits here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use image::command::cargo;

use crate::stat::{bar, bar_at_least};

/// Measures and reports.
pub(crate) fn run() -> Result<()> {
    let root = built()?;
    println!("identity: rounds of attestation, beside their signatures alone (SQLite, 64 devices at once)");
    let one = measured(&root, "one")?;
    bar("identity_round_vs_signatures_cpu", one.number("cpu_ratio")?, 3.0);
    bar_at_least("identity_rounds_per_s", one.number("rounds_per_s")?, 300.0);
    println!("identity: 1, 2 and 4 processes on one PostgreSQL, by processor time");
    let replicas = measured(&root, "replicas")?;
    bar("identity_replicas_2_vs_1_cpu", replicas.number("two_vs_one")?, 1.25);
    bar("identity_replicas_4_vs_1_cpu", replicas.number("four_vs_one")?, 1.25);
    bar("identity_replicas_database_4_vs_1_cpu", replicas.number("database_four_vs_one")?, 1.25);
    println!("identity: 100,000 devices that come every 20 hours, by a clock that is set");
    let fleet = measured(&root, "fleet")?;
    bar("identity_fleet_core_percent", fleet.number("core_percent")?, 5.0);
    bar("identity_fleet_memory_mib", fleet.number("memory_mib")?, 300.0);
    Ok(())
}

/// The root of the tree, in which the example is built.
fn built() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let arguments =
        ["build", "--quiet", "--profile", "service", "-p", "gabion-service", "--example", "rounds"];
    let built = cargo().args(arguments).current_dir(&root).status().context("cargo")?;
    ensure!(built.success(), "the service could not be built");
    Ok(root)
}

/// Builds the example and has it measure one thing.
pub(crate) fn example(what: &str) -> Result<Said> {
    measured(&built()?, what)
}

/// What the example said.
pub(crate) struct Said(String);

impl Said {
    pub(crate) fn number(&self, name: &str) -> Result<f64> {
        let found = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.with_context(|| format!("it did not say {name}"))?.parse().context("a number")
    }
}

fn measured(root: &Path, what: &str) -> Result<Said> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let mut command = Command::new(target.join("service/examples/rounds"));
    let output =
        command.arg(what).current_dir(root).stderr(Stdio::inherit()).output().context("the example")?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{what} ended by {}: {said}", output.status);
    said.lines().filter(|line| line.starts_with("  ")).for_each(|line| println!("{line}"));
    Ok(Said(said))
}
