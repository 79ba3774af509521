//! The manifest worker: reads what app authors wrote, manifests and images, in a box that may do nothing.
//!
//! Questions come as datagrams on standard input, answers go back the same way (`sandboxd::worker`). An attacker
//! controls every byte of the manifest and of the image; if the parser fell to them, this process could only send sandboxd
//! a wrong answer. A plan is checked there; an image that is mounted on its word is one that the kernel reads unchecked. It
//! keeps nothing from one question to the next.

use std::fs::File;
use std::io::{self, stdin};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use sandboxd::worker::{MESSAGE_MAX, work};

fn main() -> io::Result<()> {
    let mut message = vec![0; MESSAGE_MAX];
    loop {
        poll(&mut [PollFd::new(stdin().as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        let Some((length, files)) = sys::channel::receive_into(stdin(), &mut message)? else { return Ok(()) };
        let image = files?.into_iter().next().map(File::from);
        if let Some(answer) = message.get(..length).and_then(|message| work(message, image)) {
            write(stdin(), &answer)?;
        }
    }
}
