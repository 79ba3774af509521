//! `sandboxd`: the app manager and box builder. Started by `init` with its socket as descriptor 3.

use std::process::ExitCode;

use sandboxd::config::Config;
use sandboxd::{console, daemon};

/// The descriptor `init` gives us.
const SOCKET: i32 = 3;

fn main() -> ExitCode {
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        let socket = sys::inherit::take(SOCKET)?;
        daemon::run(Config::of_device(), socket)
    };
    let ended = run();
    if let Err(e) = &ended {
        console::say(format_args!("sandboxd can not go on: {e}"));
    }
    console::finish();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
