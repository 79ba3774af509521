//! A device on its board, by the real chain; and what somebody may have done to that before it is switched on.

use crate::bench::Parts;
use crate::console::Console;
use crate::next;
use anyhow::{Context, Result, ensure};
use image::board::Board;
use image::chain::disk::{self, ESP_OFFSET, ROOT_OFFSET, System};
use image::chain::keys::Keys;
use image::chain::{again, esp, pe, uki};
use image::command::{output, tool};
use image::paths::Tree;
use image::qemu::Console::Terminal;
use image::qemu::{Disk, Machine};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::time::Duration;

/// The kernel's first words, when the firmware starts it.
pub const KERNEL: &str = "EFI stub: UEFI Secure Boot is enabled.";

/// What somebody does to a board.
pub type Tamper = fn(&Opened) -> Result<()>;

/// A board that is open on the bench, its disk written.
pub struct Opened {
    tree: Tree,
    disk: PathBuf,
    system: System,
}

/// The release that a device on a board has.
pub(crate) fn system(parts: &Parts) -> Result<System> {
    ensure!(parts.bench.board.is_some(), "the device is on no board");
    ensure!(parts.bench.without.is_empty(), "no word can be left out of a signed command line");
    let tree = parts.bench.tree()?;
    let disk = parts.place.path().join("release.img");
    disk::build(&tree, &parts.bootable, &Keys::of(&tree)?, &words(parts), &disk)
}

/// What is added to the signed command line.
pub(crate) fn words(parts: &Parts) -> Vec<String> {
    // The kernel takes the last `init`.
    let mut words = vec!["init=/sbin/test-agent".to_owned()];
    words.extend(parts.bench.words.split_whitespace().map(str::to_owned));
    words
}

/// The device's machine, on its board in the device's folder.
pub(crate) fn machine(parts: &Parts, tamper: Tamper) -> Result<Machine> {
    let tree = parts.bench.tree()?;
    let at = |name: &str| parts.place.path().join(name);
    let system = system(parts)?;
    let new = !at("board").exists();
    let board = Board::new(&tree, &Keys::of(&tree)?, &at("board"))?;
    if new || parts.bench.flash {
        board.flash(&system)?;
    }
    let mut machine =
        Machine::on_board(&parts.bootable, &board, &tree.layout.says, &at("data.img"), &at("qmp"))?;
    if new {
        tamper(&Opened { tree, disk: board.disk(), system })?;
    }
    machine.console = Terminal;
    machine.disks.extend(next::payload(parts)?.map(|image| Disk { image, writable: false, log: None }));
    Ok(machine)
}

/// Types all that opens something on other firmware and in boot loaders, until the kernel is started or the device off.
pub(crate) fn type_at(mut keyboard: ChildStdin, console: Console) {
    // Escape and F2: the firmware's menu. Any key: the boot loader's; then its editor, its settings, its end.
    const KEYS: &[u8] = b"\x1b\x1b[12~ edtq\r";
    std::thread::spawn(move || {
        let started = |console: &Console| console.wait(0, KERNEL, Duration::from_millis(200)).is_ok();
        while !started(&console) {
            // It ends with QEMU.
            if keyboard.write_all(KEYS).and_then(|()| keyboard.flush()).is_err() {
                return;
            }
        }
    });
}

impl Opened {
    /// The release on it.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Gives these partitions of its disk a type that says nothing of what is in them.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn untyped(&self, partitions: &[u8]) -> Result<()> {
        const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
        for number in partitions {
            let number = number.to_string();
            output(tool("sfdisk").arg("--part-type").arg(&self.disk).args([&number, LINUX]))?;
        }
        Ok(())
    }

    /// The signed kernel image.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn kernel_image(&self) -> Result<Vec<u8>> {
        Ok(fs::read(&self.system.kernel)?)
    }

    /// Puts a kernel image beside the other, newer than it, with one attempt.
    ///
    /// # Errors
    /// It does not fit.
    pub fn add_kernel(&self, release: &str, image: &[u8]) -> Result<()> {
        self.put(&format!("{}/gabion_{release}+1.efi", esp::KERNELS), image)
    }

    /// A kernel image with nothing in it, signed by whoever has the keys.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn small_kernel(&self, release: &str, keys: &Keys) -> Result<Vec<u8>> {
        let parts = uki::Parts {
            os_release: &uki::os_release(release),
            command_line: "init=/bin/evil",
            kernel_version: "1",
            kernel: &again::program()?,
        };
        Ok(uki::build(&uki::stub()?, &parts, keys)?.file)
    }

    /// Keys that the board has never heard of.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn strange_keys(&self) -> Result<Keys> {
        Keys::development(&self.disk.with_extension("strange-keys"))
    }

    /// The development keys, which the board trusts.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn keys(&self) -> Result<Keys> {
        Keys::of(&self.tree)
    }

    /// Writes a file of the EFI system partition, anew if it is there.
    ///
    /// # Errors
    /// It does not fit.
    pub fn put(&self, path: &str, content: &[u8]) -> Result<()> {
        esp::replace(&self.disk, ESP_OFFSET, path, content)
    }

    /// Makes a folder on the EFI system partition.
    ///
    /// # Errors
    /// It is there.
    pub fn make_folder(&self, path: &str) -> Result<()> {
        esp::make_folder(&self.disk, ESP_OFFSET, path)
    }

    /// Reads a file of the EFI system partition.
    ///
    /// # Errors
    /// There is none.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        esp::read(&self.disk, ESP_OFFSET, path)
    }

    /// Flips one bit of the root, `at` bytes from its beginning.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn flip_root(&self, at: u64) -> Result<()> {
        let disk = File::options().read(true).write(true).open(&self.disk)?;
        let mut byte = [0];
        disk.read_exact_at(&mut byte, ROOT_OFFSET + at)?;
        Ok(disk.write_all_at(&[byte[0] ^ 1], ROOT_OFFSET + at)?)
    }
}

/// `image` with one bit of a section flipped, in a place where text stays text.
///
/// # Errors
/// It has no such section.
pub fn flipped(image: &[u8], section: &str) -> Result<Vec<u8>> {
    let content = pe::section(image, section)?.context("no such section")?;
    let at = image.windows(content.len()).position(|window| window == content).context("no such section")?;
    let mut altered = image.to_vec();
    let byte = altered.get_mut(at + content.len() / 2).context("no such section")?;
    *byte ^= 1;
    Ok(altered)
}

/// `image` without its signature.
///
/// # Errors
/// The tool fails.
pub fn unsigned(image: &[u8]) -> Result<Vec<u8>> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), image)?;
    image::command::output(image::command::tool("sbattach").arg("--remove").arg(file.path()))?;
    Ok(fs::read(file.path())?)
}
