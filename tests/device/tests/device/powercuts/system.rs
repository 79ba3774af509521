//! The system's disk as a cut may have left it while the system was updated: what would start then is one whole system, the old
//! one or the new.

use super::Fault;
use device_test::Device;
use image::chain::disk::{ESP_BYTES, ESP_OFFSET, ROOT_OFFSET};
use slots::disk::Disk;
use slots::gpt::Gpt;
use slots::kernel::Kernel;
use slots::layout::KERNELS;
use std::fs;
use std::io::{self, Cursor, Read};

/// The old and the new.
pub(crate) struct Systems([Whole; 2]);

impl Systems {
    /// That of the device, and the release `version` for it.
    pub(crate) fn of(device: &Device, version: &str) -> Self {
        Self([Whole::old(device), Whole::new(device, version)])
    }

    /// The version that starts from this disk.
    pub(crate) fn judge(&self, disk: &[u8]) -> Result<String, Fault> {
        let number = starts(disk, &self.0)?;
        Ok(self.0[number].version.clone())
    }
}

/// A system as its maker made it.
struct Whole {
    version: String,
    root_hash: [u8; 32],
    /// Data and hash tree.
    root: Vec<u8>,
    data_bytes: usize,
    kernel: Vec<u8>,
}

impl Whole {
    fn old(device: &Device) -> Self {
        let system = device.system().unwrap();
        let (root, data_bytes) = device.root().unwrap();
        Self::of(&system, root, data_bytes)
    }

    fn new(device: &Device, version: &str) -> Self {
        let (bootable, system) = device.next_release(version, 0).unwrap();
        let data_bytes = bootable.root.data_blocks as usize * 4096;
        Self::of(&system, fs::read(&bootable.root.image).unwrap(), data_bytes)
    }

    fn of(system: &image::chain::disk::System, root: Vec<u8>, data_bytes: usize) -> Self {
        let digit = |at: usize| u8::from_str_radix(&system.root_hash[2 * at..2 * at + 2], 16).unwrap();
        let (version, kernel) = (system.release.clone(), fs::read(&system.kernel).unwrap());
        Self { version, root_hash: std::array::from_fn(digit), root, data_bytes, kernel }
    }
}

/// What is in a slot matters once something leads there: what is looked at are writes elsewhere, and flushes.
pub(crate) fn in_the_tables(disk: &[u8]) -> impl Fn(usize) -> bool {
    /// The second copy of the partition table.
    const COPY: usize = 33 * 512;
    let end = disk.len() - COPY;
    move |at| (at as u64) < ROOT_OFFSET || at >= end
}

struct Bytes<'a>(&'a [u8]);

impl Disk for Bytes<'_> {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let at = at as usize;
        into.copy_from_slice(self.0.get(at..at + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What starts from this disk, or why nothing does. The file system is read by code that is not ours; what the firmware and the
/// boot loader do is modelled as in `updated/slots/tests/cuts.rs`.
fn starts(disk: &[u8], systems: &[Whole; 2]) -> Result<usize, Fault> {
    let brick = |e: &dyn std::fmt::Display| Fault::Brick(e.to_string());
    let table = Gpt::read(&Bytes(disk), disk.len() as u64).map_err(|fault| brick(&fault))?;
    let esp = &disk[ESP_OFFSET as usize..(ESP_OFFSET + ESP_BYTES) as usize];
    let esp = ReadOnly(Cursor::new(esp));
    let files = fatfs::FileSystem::new(esp, fatfs::FsOptions::new()).map_err(|e| brick(&e))?;
    let folder = files.root_dir().open_dir(KERNELS).map_err(|e| brick(&e))?;
    let mut kernels = Vec::new();
    for entry in folder.iter() {
        let entry = entry.map_err(|e| brick(&e))?;
        if let Some(kernel) = Kernel::of(&entry.file_name()) {
            let mut content = Vec::new();
            entry.to_file().read_to_end(&mut content).map_err(|e| brick(&e))?;
            kernels.push((kernel, content));
        }
    }
    kernels.sort_by(|a, b| a.0.precedence(&b.0));
    let of = |content: &[u8]| systems.iter().position(|system| system.kernel == content);
    if let Some((kernel, _)) = kernels.iter().find(|(_, content)| of(content).is_none()) {
        return Err(Fault::Brick(format!("{kernel} is torn")));
    }
    let (kernel, content) = kernels.first().ok_or_else(|| brick(&"there is no kernel image"))?;
    let number = of(content).ok_or_else(|| brick(&"it is torn"))?;
    let system = &systems[number];
    if system.version != kernel.version {
        return Err(Fault::Mixed(format!("{kernel} has another's content")));
    }
    let (data, tree) = system.root.split_at(system.data_bytes);
    for (half, content) in [(&system.root_hash[..16], data), (&system.root_hash[16..], tree)] {
        let mut guid: [u8; 16] = half.try_into().map_err(|e| brick(&e))?;
        guid[..4].reverse();
        guid[4..6].reverse();
        guid[6..8].reverse();
        let mut all = table.partitions().into_iter().flatten();
        let none = || Fault::Mixed(format!("{kernel} finds no root"));
        let part = all.find(|part| part.unique == guid).ok_or_else(none)?;
        if disk[part.from as usize..][..content.len()] != *content {
            return Err(Fault::Mixed(format!("{kernel} finds a root that is torn")));
        }
    }
    Ok(number)
}

/// For reading alone, without a copy.
struct ReadOnly<'a>(Cursor<&'a [u8]>);

impl Read for ReadOnly<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl io::Seek for ReadOnly<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl io::Write for ReadOnly<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
