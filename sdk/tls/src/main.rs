//! `gabion-tls`: see the library.

use std::process::ExitCode;

use gabion::certificate::Identity;
use tls::child;
use tls::forward::Forwards;
use tls::options::{HELP, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(text) => {
            eprintln!("gabion-tls: {text}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let options = Options::read(std::env::args_os().skip(1)).map_err(|e| e.to_string())?;
    if options.program.is_empty() {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let identity = Identity::of_app().map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    LocalSet::new().block_on(&runtime, async {
        let mut end = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
        let forwards = Forwards::open(&options, &identity).await?;
        let name = options.program.first().map_or_else(Default::default, |name| name.display().to_string());
        let program = child::start(&options.program).map_err(|e| format!("can not start {name}: {e}"))?;
        forwards.start();
        let (ended, mut wait) = tokio::sync::mpsc::channel(1);
        // waitpid(2) waits as long as it takes: in a thread of its own.
        std::thread::spawn(move || ended.blocking_send(child::ended(program)));
        loop {
            tokio::select! {
                code = wait.recv() => return Ok(code.unwrap_or(ExitCode::FAILURE)),
                _ = end.recv() => child::ask_to_end(program),
            }
        }
    })
}
