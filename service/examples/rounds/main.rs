//! What the service's work costs: `cargo run --profile service -p gabion-service --example rounds [one|replicas|fleet|load]`.
//!
//! A round asks for a nonce, checks the recorded evidence of a real boot, the certification and the request of one key, makes
//! a certificate and a signed verdict, and waits until all is on the disk. Each line `NAME VALUE` is a number; `make bench
//! PART=identity` holds those against their limits. `load` is of updates: devices that wait for one while others fetch it (`make
//! bench PART=update`).

mod devices;
mod fleet;
mod load;
mod one;
mod recorded;
mod replicas;
mod site;

#[path = "../../tests/support/client.rs"]
#[expect(dead_code, reason = "it is the API tests' client, of which this uses a part")]
mod client;
#[path = "../../tests/support/postgres.rs"]
mod postgres;

use anyhow::{Context as _, Result, bail};

/// A folder beside this program: on a disk, where waiting for it costs what it costs.
fn folder() -> Result<tempfile::TempDir> {
    let program = std::env::current_exe()?;
    let beside = program.parent().context("a folder")?;
    Ok(tempfile::Builder::new().prefix("rounds-").tempdir_in(beside)?)
}

/// SQLite in it.
fn sqlite(folder: &tempfile::TempDir) -> String {
    format!("sqlite://{}?mode=rwc", folder.path().join("state.sqlite").display())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next().unwrap_or_else(|| "one".to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match which.as_str() {
        "one" => runtime.block_on(one::run()),
        "fleet" => runtime.block_on(fleet::run()),
        "load" => runtime.block_on(load::run()),
        devices::WORD => runtime.block_on(devices::run(&arguments.collect::<Vec<_>>())),
        "replicas" => runtime.block_on(replicas::run()),
        replicas::REPLICA => runtime.block_on(replicas::replica(&arguments.collect::<Vec<_>>())),
        other => bail!("there are one, replicas, fleet and load, not {other}"),
    }
}
