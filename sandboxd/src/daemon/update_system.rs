//! The system's own update: what updated may ask for, and how it is done.

use std::io;
use std::os::fd::OwnedFd;

use bus::update_link::FromUpdated;

use super::Daemon;

impl Daemon {
    /// Takes what updated says of the system.
    pub(super) fn update_system(&mut self, _message: FromUpdated, _fds: Vec<OwnedFd>) -> io::Result<()> {
        self.update_refuse("this device's disk has no slots");
        Ok(())
    }
}
