//! Apps that come by updates: what updated may ask for.

use std::io;
use std::os::fd::OwnedFd;

use bus::update_link::Package;

use super::Daemon;

impl Daemon {
    /// Tells updated of every app: part of the state.
    pub(super) fn packages_state(&mut self) {}

    /// updated wants to write this app's new image.
    pub(super) fn packages_incoming(&mut self, _id: &str, _version: &str, _bytes: u64) {
        self.update_refuse("apps are not installed here");
    }

    /// These apps are to be installed, all or none.
    pub(super) fn packages_install(
        &mut self,
        _packages: Vec<Package>,
        _manifests: Vec<OwnedFd>,
        _trial_s: u32,
    ) -> io::Result<()> {
        self.update_refuse("apps are not installed here");
        Ok(())
    }

    /// This app is to be removed.
    pub(super) fn packages_remove(&mut self, _id: &str) -> io::Result<()> {
        self.update_refuse("apps are not removed here");
        Ok(())
    }
}
