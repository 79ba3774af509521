//! The manifest worker: reads what app authors wrote, in a box that may do nothing.
//!
//! Questions come as datagrams on standard input, answers go back the same way (`sandboxd::worker`). An attacker
//! controls every byte of the manifest; if the parser fell to it, this process could only send sandboxd a wrong
//! answer, which is checked there. It keeps nothing from one manifest to the next.

use std::io::stdin;

use nix::unistd::{read, write};
use sandboxd::worker::{MESSAGE_MAX, work};

fn main() -> Result<(), nix::Error> {
    let mut message = vec![0; MESSAGE_MAX];
    loop {
        let n = read(stdin(), &mut message)?;
        if n == 0 {
            return Ok(());
        }
        if let Some(answer) = message.get(..n).and_then(work) {
            write(stdin(), &answer)?;
        }
    }
}
