//! The EFI system partition: what the firmware and the boot loader read. FAT, by UEFI's specification.
//!
//! Nothing on it is trusted for being there: programs are signed, and the loader's settings can only choose among them.

use crate::command::{output, tool};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;

/// The boot loader, by its path on the partition.
pub const LOADER: &str = "EFI/systemd/systemd-bootx64.efi";
/// What the firmware starts when it has no boot entry: the boot loader again.
pub const FALLBACK: &str = "EFI/BOOT/BOOTX64.EFI";
/// What the firmware starts when the boot loader has ended (`again`).
pub const AGAIN: &str = "EFI/gabion/again.efi";
pub use slots::layout::KERNELS;
/// The boot loader's settings: the newest good system, at once; no editor, no keys to enrol from the disk, no entries for
/// what else may lie around, no seed of random numbers on a disk that anybody may have read.
pub const SETTINGS: &str =
    "timeout 0\neditor no\nauto-entries no\nauto-firmware no\nsecure-boot-enroll off\nrandom-seed-mode off\n";

/// Read by `mtools`: the same bytes whenever it is made. 2026-01-01.
const EPOCH: &str = "1767225600";

/// The name of a release's kernel image on the disk that leaves the maker, in this folder: known to be good, without attempts that
/// would be counted, since there is nothing to go back to. What an update brings is counted (`updated/slots`).
pub fn kernel_name(folder: &str, release: &str) -> String {
    format!("{folder}/gabion_{release}.efi")
}

/// Makes the file system in a file of `bytes` bytes: each file with its path.
///
/// # Errors
/// It does not fit; a tool fails.
pub fn format(image: &Path, bytes: u64, files: &[(&str, &[u8])]) -> Result<()> {
    File::create(image)
        .and_then(|file| file.set_len(bytes))
        .with_context(|| format!("making {}", image.display()))?;
    output(tool("mkfs.vfat").args(["--invariant", "-F", "16", "-n", "GABION-ESP"]).arg(image))?;
    let source = tempfile::NamedTempFile::new()?;
    let mut made = Vec::new();
    for (path, content) in files {
        let folders = Path::new(path).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        for folder in folders.collect::<Vec<_>>().into_iter().rev() {
            if !made.contains(&folder) {
                run("mmd", image, |mmd| mmd.arg(on_image(folder)))?;
                made.push(folder);
            }
        }
        fs::write(source.path(), content)?;
        run("mcopy", image, |mcopy| mcopy.arg(source.path()).arg(on_image(Path::new(path))))?;
    }
    Ok(())
}

/// The files of a folder of the partition that begins at `offset` of `disk`, by their names.
///
/// # Errors
/// There is no such folder.
pub fn names(disk: &Path, offset: u64, folder: &str) -> Result<Vec<String>> {
    let place = at_offset(disk, offset);
    let listed = output(tool("mdir").args(["-b", "-i", &place]).arg(on_image(Path::new(folder))))?;
    Ok(listed.lines().filter_map(|line| line.rsplit('/').next()).map(str::to_owned).collect())
}

/// Puts a file at `path`, in place of one that is there, on the partition that begins at `offset` of `disk`.
///
/// # Errors
/// It does not fit; there is no such folder.
pub fn replace(disk: &Path, offset: u64, path: &str, content: &[u8]) -> Result<()> {
    let source = tempfile::NamedTempFile::new()?;
    fs::write(source.path(), content)?;
    let place = at_offset(disk, offset);
    output(tool("mcopy").args(["-o", "-i", &place]).arg(source.path()).arg(on_image(Path::new(path))))?;
    Ok(())
}

/// Makes a folder, on the partition that begins at `offset` of `disk`.
///
/// # Errors
/// It is there; the one above it is not.
pub fn make_folder(disk: &Path, offset: u64, path: &str) -> Result<()> {
    let place = at_offset(disk, offset);
    output(tool("mmd").args(["-D", "s", "-i", &place]).arg(on_image(Path::new(path))))?;
    Ok(())
}

/// Reads the file at `path`, on the partition that begins at `offset` of `disk`.
///
/// # Errors
/// There is none.
pub fn read(disk: &Path, offset: u64, path: &str) -> Result<Vec<u8>> {
    let to = tempfile::NamedTempFile::new()?;
    let place = at_offset(disk, offset);
    output(tool("mcopy").args(["-n", "-o", "-i", &place]).arg(on_image(Path::new(path))).arg(to.path()))?;
    fs::read(to.path()).context("reading what mcopy made")
}

fn at_offset(disk: &Path, offset: u64) -> String {
    format!("{}@@{offset}", disk.display())
}

fn on_image(path: &Path) -> String {
    format!("::{}", path.display())
}

fn run(
    program: &str,
    image: &Path,
    arguments: impl FnOnce(&mut std::process::Command) -> &mut std::process::Command,
) -> Result<String> {
    let mut command = tool(program);
    command.env("SOURCE_DATE_EPOCH", EPOCH).arg("-i").arg(image);
    output(arguments(&mut command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_two_partitions_are_the_same_bytes() {
        let place = tempfile::tempdir().unwrap();
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        let kernel = kernel_name(KERNELS, "0.1.0");
        let files: [(&str, &[u8]); 2] =
            [(&kernel, &[7; 100_000]), ("loader/loader.conf", SETTINGS.as_bytes())];
        for image in [&one, &two] {
            format(image, 16 << 20, &files).unwrap();
        }
        assert_eq!(names(&one, 0, KERNELS).unwrap(), ["gabion_0.1.0.efi"]);
        assert_eq!(read(&one, 0, &kernel).unwrap(), [7; 100_000]);
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap(), "the two differ");
        replace(&one, 0, &kernel, &[8; 100]).unwrap();
        assert!(fs::read(&one).unwrap() != fs::read(&two).unwrap());
    }
}
