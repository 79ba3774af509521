//! A network namespace without a name: it is there as long as somebody holds it open or lives in it.
//!
//! Only the calling thread goes inside, and only for a moment; what it opens or starts there stays there. So a test's
//! other threads, with other devices, notice nothing.

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;

/// The namespace of the thread that asks.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
pub struct Namespace(File);

impl Namespace {
    /// A new one, with a loopback that is down.
    ///
    /// # Errors
    /// Only root may have one.
    pub fn new() -> Result<Self> {
        // A thread of its own, which ends in there: nobody has to come back.
        let made = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("a network namespace: the tests run as root")?;
            Ok(File::open(OWN)?)
        });
        Ok(Self(
            made.join().map_err(|_| anyhow::anyhow!("the thread that makes a network namespace ended"))??,
        ))
    }

    /// Does `act` inside.
    ///
    /// # Errors
    /// What `act` says; the kernel, when the thread can't go there or come back.
    pub fn inside<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let home = File::open(OWN)?;
        setns(&self.0, CloneFlags::CLONE_NEWNET).context("into the site's network")?;
        let done = act();
        setns(&home, CloneFlags::CLONE_NEWNET).context("out of the site's network")?;
        done
    }
}
