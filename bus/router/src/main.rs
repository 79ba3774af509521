//! `busd`: the capability router. Its standard input is the socket to `sandboxd`.

use std::io::stdin;
use std::os::fd::AsFd;
use std::process::ExitCode;

fn main() -> ExitCode {
    match busd::shell::run(stdin().as_fd()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("busd: {error}");
            ExitCode::FAILURE
        }
    }
}
