//! The update daemon as a process of its own, with its storage in the folder that is named.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let storage = std::env::args_os().nth(1).map(PathBuf::from);
    updated::run_with(storage.ok_or(std::io::ErrorKind::InvalidInput)?)
}
