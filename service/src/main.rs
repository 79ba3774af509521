//! `gabion-service`: the Security Service's commands.
//!
//! Only here is read what an operator says: addresses, files, the passphrase. Codes and keys go to standard output or into
//! files for their owner alone, never into the log.

mod commands;

use anyhow::Result;
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gabion-service: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let command = commands::Command::parse();
    tracing_subscriber::fmt().json().with_max_level(command.log_level()).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(command.run())
}
