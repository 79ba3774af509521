//! The service itself is a program of its own: `gabion service run` becomes it.
//!
//! It is the one beside `gabion`, or else the first in PATH: whoever installs both together gets those two.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::exit::{Exit, Failure};

const PROGRAM: &str = "gabion-service";

/// What the program is told.
#[derive(Args)]
pub(crate) struct Arguments {
    /// As `gabion-service` takes them; --help is its own.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    all: Vec<OsString>,
}

/// Becomes it. Comes back only if it cannot.
pub(super) fn become_it(act: &str, arguments: &Arguments) -> Result<()> {
    let program = found()?;
    let error = Command::new(&program).arg(act).args(&arguments.all).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

fn found() -> Result<PathBuf> {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(PROGRAM)));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = beside.into_iter().chain(env::split_paths(&path).map(|folder| folder.join(PROGRAM)));
    match places.find(|place| place.is_file()) {
        Some(program) => Ok(program),
        None => {
            let message = format!("{PROGRAM} is neither beside gabion nor in PATH");
            let help = "`cargo build --profile service -p gabion-service` makes it";
            Err(Failure::new(Exit::NotFound, message).help(help).into())
        }
    }
}
