//! The daemons that speak TLS, in one program: which of them it is, is what it is called.
//!
//! Each runs as a process of its own, in a box of its own, with a filter of its own. They share what lies in flash and in
//! memory once: the runtime and the TLS library. No capability and no key follows from the name: boxes are made by
//! `sandboxd`, which goes by plans in the verified root.

use std::path::Path;
use std::{env, io};

fn main() -> io::Result<()> {
    sys::heap::keep_small();
    let called = env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("netd") => netd::run(),
        Some("attestd") => attestd::run(),
        Some("door") => door::run(),
        Some("updated") => updated::run(),
        _ => Err(io::Error::other(format!(
            "no daemon is called {}: netd, attestd, updated, door",
            called.display()
        ))),
    }
}
