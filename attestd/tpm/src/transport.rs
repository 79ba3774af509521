//! How commands get to a TPM and answers back: whole, one at a time.
//!
//! Whoever sits on the bus reads and writes all of it, so a transport promises nothing but to try.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::constants::MOST_BYTES;

/// A way to a TPM.
pub trait Transport {
    /// Sends a command and waits for its answer, of which at most `answer`'s length is taken. The number of its bytes.
    ///
    /// # Errors
    /// When there is no answer.
    fn exchange(&mut self, command: &[u8], answer: &mut [u8; MOST_BYTES]) -> io::Result<usize>;

    /// Waits before the command is sent again for the `attempt`th time, from 0: ten milliseconds at first, doubled each
    /// time. (For tests that need not wait.)
    fn pause(&mut self, attempt: u32) {
        thread::sleep(Duration::from_millis(10 << attempt.min(8)));
    }
}

/// A device of Linux. `/dev/tpmrm0` is the one to take: what is loaded over it is ours alone, and goes away when it is
/// closed.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Opens it.
    ///
    /// # Errors
    /// When there is none, or somebody has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }
}

impl From<File> for Device {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl Transport for Device {
    /// The kernel takes one write as one command, whole or not at all, and gives the answer to one read.
    fn exchange(&mut self, command: &[u8], answer: &mut [u8; MOST_BYTES]) -> io::Result<usize> {
        let written = self.0.write(command)?;
        if written != command.len() {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "the command was taken in part"));
        }
        self.0.read(answer)
    }
}
