//! How many devices run at a time: one for each processor, but for those that mostly wait. A device has two, and starts on one of
//! them; more of them would be slow enough for what is about time to go otherwise.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::available_parallelism;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// A place among the devices that run, which is given back when it is dropped.
pub(crate) struct Turn(());

impl Turn {
    /// Waits until there is one.
    pub(crate) fn take() -> Self {
        let most = available_parallelism().map_or(1, usize::from);
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running =
            ENDED.wait_while(running, |running| *running >= most).unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
