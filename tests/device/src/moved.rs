//! The disks of a board on another one, and a board that was copied.

use crate::off::Off;
use anyhow::{Context, Result};
use image::command::{output, tool};
use std::fs;
use std::path::{Path, PathBuf};

impl Off {
    /// Takes its board away from its disks: TPM and variables. The next boot is on a new one, with a copy of the system's
    /// disk and the same data disk. Gives where the old one lies.
    ///
    /// # Errors
    /// It was on no board.
    pub fn take_board(&self) -> Result<PathBuf> {
        let (board, aside) = (self.board(), tempfile::tempdir_in(self.parts.place.path())?.keep());
        for part in BOARD {
            fs::rename(board.join(part), aside.join(part)).with_context(|| format!("taking {part} away"))?;
        }
        Ok(aside)
    }

    /// Puts a board back that was taken away; the one that was there instead is gone.
    ///
    /// # Errors
    /// It is none.
    pub fn put_board(&self, aside: &Path) -> Result<()> {
        let board = self.board();
        fs::remove_dir_all(board.join("tpm"))?;
        for part in BOARD {
            fs::rename(aside.join(part), board.join(part)).with_context(|| format!("putting {part} back"))?;
        }
        Ok(())
    }

    /// Copies what is not its disks, as it is now. Gives where the copy lies.
    ///
    /// # Errors
    /// It was on no board.
    pub fn copy_board(&self) -> Result<PathBuf> {
        let (board, aside) = (self.board(), tempfile::tempdir_in(self.parts.place.path())?.keep());
        for part in BOARD {
            output(tool("cp").arg("-a").arg(board.join(part)).arg(&aside))?;
        }
        Ok(aside)
    }

    fn board(&self) -> PathBuf {
        self.parts.place.path().join("board")
    }
}

/// What of a board's folder is not its disk.
const BOARD: [&str; 2] = ["tpm", "variables.fd"];
