//! A process at its limit of open files: in a test binary of its own, because the limit is the whole process's.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use sys::channel;

/// The kernel gives what fits and says that it cut; nobody may take that for the whole.
#[test]
fn descriptors_over_the_limit_are_an_error_and_the_next_message_is_whole() {
    let (ours, theirs) = channel::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    let three = [null.as_raw_fd(); 3];
    channel::send(&theirs, b"put", &three).unwrap();
    channel::send(&theirs, b"more", &three).unwrap();
    let mut held: Vec<OwnedFd> = Vec::new();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    while let Ok(fd) = null.try_clone() {
        held.push(fd.into());
    }
    held.truncate(held.len() - 2);

    let (message, fds) = channel::receive(&ours).unwrap().unwrap();
    assert_eq!(message, b"put");
    assert_eq!(fds.unwrap_err().raw_os_error(), Some(libc::EMFILE));
    // What had come of the three is closed again: all fit now, with one place made.
    held.pop();
    let (message, fds) = channel::receive(&ours).unwrap().unwrap();
    assert_eq!((message.as_slice(), fds.unwrap().len()), (&b"more"[..], 3));
    assert_eq!(channel::receive(&ours).unwrap_err().kind(), ErrorKind::WouldBlock);
}
