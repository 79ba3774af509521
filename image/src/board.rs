//! The reference board as a thing of its own: firmware, variable store, TPM, and the system's disk, in a folder that is
//! the device. The same folder is the same device; a copy of it without `tpm/` is its disk on another board.
//!
//! A q35 with SMM, which is what keeps the variable store from everything but the firmware.

use crate::chain::disk::{self, System};
use crate::chain::firmware;
use crate::chain::keys::Keys;
use crate::chain::variables::{self, SystemPartition};
use crate::paths::Tree;
use crate::qemu::escaped;
use crate::stamp::Stamp;
use crate::swtpm::{self, Swtpm};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A board.
#[derive(Clone, Debug)]
pub struct Board {
    folder: PathBuf,
    firmware: PathBuf,
}

impl Board {
    /// The board in `folder`: made if there is none, with variables that trust `keys`.
    ///
    /// # Errors
    /// A part is missing on this machine, or cannot be written.
    pub fn new(tree: &Tree, keys: &Keys, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let board = Self { folder: folder.to_path_buf(), firmware: board_firmware(tree)? };
        if !board.variables().exists() {
            let number = u32::try_from(tree.layout.says.esp.unwrap_or_default() + 1)?;
            let system = SystemPartition { unique: disk::esp_unique()?, number, bytes: disk::ESP_BYTES };
            fs::write(board.variables(), variables::store(keys, system)?)?;
        }
        swtpm::manufacture(tree, &board.tpm())?;
        Ok(board)
    }

    /// Writes a release to its disk, unless it is the one that was written last. What the board knows and has stored
    /// stays.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn flash(&self, system: &System) -> Result<()> {
        let written = self.folder.join("written");
        let release = format!("{}\n{:02x?}\n", system.root_hash, system.kernel_image);
        if self.disk().exists() && fs::read_to_string(&written).is_ok_and(|last| last == release) {
            return Ok(());
        }
        fs::copy(&system.disk, self.disk()).with_context(|| format!("writing {}", self.disk().display()))?;
        Ok(fs::write(written, release)?)
    }

    /// The system's disk.
    pub fn disk(&self) -> PathBuf {
        self.folder.join("system.img")
    }

    /// The firmware's variables.
    pub fn variables(&self) -> PathBuf {
        self.folder.join("variables.fd")
    }

    /// State of its TPM.
    pub fn tpm(&self) -> PathBuf {
        self.folder.join("tpm")
    }

    /// Switches the TPM on, which QEMU gets to by a socket beside `qmp`.
    pub(crate) fn power(&self, qmp: &Path) -> Result<Swtpm> {
        Swtpm::start(&self.tpm(), &tpm_socket(qmp))
    }

    /// What QEMU has to be told of it.
    pub(crate) fn describe(&self, command: &mut Command, qmp: &Path) {
        let flash = |unit: u8, access: &str, file: &Path| {
            format!("if=pflash,unit={unit},format=raw,readonly={access},file={}", escaped(file))
        };
        command.args(["-machine", "q35,smm=on"]);
        // Only the firmware, in SMM, writes to the flash; and nobody makes it sleep, from which it would wake unmeasured.
        command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        command.args(["-global", "ICH9-LPC.disable_s3=1"]);
        command.args(["-drive", &flash(0, "on", &self.firmware)]);
        command.args(["-drive", &flash(1, "off", &self.variables())]);
        command.args(["-chardev", &format!("socket,id=tpm,path={}", escaped(&tpm_socket(qmp)))]);
        command.args(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"]);
    }
}

fn tpm_socket(qmp: &Path) -> PathBuf {
    qmp.with_extension("tpm")
}

/// Debian's firmware with parts taken out, made once.
fn board_firmware(tree: &Tree) -> Result<PathBuf> {
    let path = tree.out().join("firmware.fd");
    let stamp = Stamp::new("firmware 2").text(firmware::recipe()).path(Path::new(firmware::DEBIAN))?;
    if !stamp.fits(&path) {
        fs::write(&path, firmware::build()?).with_context(|| format!("writing {}", path.display()))?;
        stamp.keep(&path)?;
    }
    Ok(path)
}
