//! The Security Service while ten thousand devices wait for updates and a thousand fetch one, by its own example.

use anyhow::Result;

use crate::identity;
use crate::stat::bar;

pub(super) fn run() -> Result<()> {
    println!("update: one process of the service, 10,000 devices that wait by TLS, 1,000 that fetch");
    let said = identity::example("load")?;
    bar("update_fleet_errors", said.number("errors")?, 0.0);
    bar("update_fleet_waiting_kib_each", said.number("waiting_kib_each")?, 64.0);
    bar("update_fleet_memory_mib", said.number("memory_mib")?, 1024.0);
    Ok(())
}
