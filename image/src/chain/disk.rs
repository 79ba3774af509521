//! The system's disk: the EFI system partition, and two slots of a root with its hash tree each.
//!
//! By the Discoverable Partitions Specification a root's GUID is the first half of its root hash, and its tree's the
//! second. The empty slot is labelled as systemd's updater does it.
//!
//! A release is one kernel image and the root that its signed command line names. The disk is written as it leaves the
//! maker, with the first slot filled; what an update does to it is the updater's.

use super::keys::Keys;
use super::pcr::Pcr;
use super::{again, esp, gpt, guid, hex, pe, reference, sha256, uki, variables};
use crate::assemble::{Audience, Bootable};
use crate::paths::Tree;
use crate::stamp::Stamp;
use crate::verity::{BLOCK, Verified};
use anyhow::{Context, Result, anyhow, bail, ensure};
use gpt::{GRAIN, Partition};
use slots::layout::Layout;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Debian's boot loader, of the package `systemd-boot-efi`.
const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
/// Two kernel images, one more while an update comes in, and the boot loader.
pub const ESP_BYTES: u64 = 16 * GRAIN;
/// A root, and its hash tree: 1/128 of it, rounded up.
const ROOT_BYTES: u64 = 16 * GRAIN;
const TREE_BYTES: u64 = GRAIN;
/// GUID of our system partition, the same on each device: the boot entries are by it.
const ESP_UNIQUE: &str = "67616269-6f6e-4000-8000-657370000000";

/// A release for the device's disk.
#[derive(Clone, Debug)]
pub struct System {
    /// The disk as it leaves the maker.
    pub disk: PathBuf,
    /// The kernel image alone, signed.
    pub kernel: PathBuf,
    /// What a device that runs it reports.
    pub reference: PathBuf,
    /// Its version.
    pub release: String,
    /// Whom it is for.
    pub audience: &'static str,
    /// What it is started with.
    pub command_line: String,
    /// Root hash of the root.
    pub root_hash: String,
    /// Root hash of the app store.
    pub apps_hash: String,
    /// What PCR 7 will be, on a board with the same keys.
    pub pcr7: Pcr,
    /// What PCR 11 will be.
    pub pcr11: Pcr,
    /// What PCR 12 will be.
    pub pcr12: Pcr,
    /// Authenticode hash of the boot loader.
    pub loader: [u8; 32],
    /// Authenticode hash of the kernel image.
    pub kernel_image: [u8; 32],
    /// Authenticode hash of what resets the board.
    pub again: [u8; 32],
    /// The keys that a board trusts, as `variables::key_hashes` has them.
    pub secure_boot: [(&'static str, [u8; 32]); 4],
}

/// Makes the tree's release of what `bootable` is of, at `disk` and beside it; kept if it was made of the same before. `words`
/// are put on its command line besides.
///
/// # Errors
/// A part is missing or too large; the keys do not sign.
pub fn build(tree: &Tree, bootable: &Bootable, keys: &Keys, words: &[String], disk: &Path) -> Result<System> {
    let release = tree.release.version.clone();
    let layout = &tree.layout.says;
    let places = places(layout)?;
    let command_line = command_line(bootable, layout, places, (tree.release.floor, words))?;
    let read = |path: &str| {
        fs::read(path).with_context(|| format!("{path} is missing; `make packages` installs it"))
    };
    let (loader, stub) = (read(LOADER)?, uki::stub()?);
    let kernel =
        fs::read(&bootable.kernel).with_context(|| format!("reading {}", bootable.kernel.display()))?;
    let parts = uki::Parts {
        os_release: &uki::os_release(&release),
        command_line: &command_line,
        kernel_version: &uki::kernel_version(&kernel)?,
        kernel: &kernel,
    };
    let image = uki::build(&stub, &parts, keys)?;
    let pcr12 = Pcr::of_command_line(&command_line);
    let system = System {
        disk: disk.to_path_buf(),
        kernel: disk.with_extension("efi"),
        reference: disk.with_extension("reference.json"),
        audience: match bootable.audience {
            Audience::Production => "production",
            Audience::Developers => "developers",
        },
        release,
        command_line,
        root_hash: bootable.root.root_hash.clone(),
        apps_hash: bootable.apps.root_hash.clone(),
        pcr7: image.pcr7,
        pcr11: image.pcr11,
        pcr12,
        loader: pe::authenticode(&loader)?,
        kernel_image: image.authenticode,
        again: pe::authenticode(&again::program()?)?,
        secure_boot: variables::key_hashes(keys)?,
    };
    let stamp = Stamp::new("system 4")
        .text(format!("{layout:?}"))
        .text(keys.identity()?)
        .text(hex(&system.loader))
        .text(hex(&system.kernel_image))
        .path(&bootable.root.image)?;
    if stamp.fits(disk) && system.kernel.exists() && system.reference.exists() {
        return Ok(system);
    }
    crate::say("image", format_args!("assembling {}", disk.display()));
    let kernel_name = esp::kernel_name(&layout.kernels, &system.release);
    if layout.kernels != esp::KERNELS {
        let folder = &layout.kernels;
        crate::say(
            "image",
            format_args!("kernel images in {folder}: the board needs a boot loader that starts them"),
        );
    }
    let loader = keys.sign(&loader)?;
    let files: [(&str, &[u8]); 5] = [
        (esp::LOADER, &loader),
        (esp::FALLBACK, &loader),
        (esp::AGAIN, &keys.sign(&again::program()?)?),
        ("loader/loader.conf", esp::SETTINGS.as_bytes()),
        (&kernel_name, &image.file),
    ];
    fs::write(&system.kernel, &image.file)?;
    let partition = tempfile::NamedTempFile::new_in(tree.out())?;
    esp::format(partition.path(), ESP_BYTES, &files)?;
    write(disk, places, &system.release, &bootable.root, partition.path())?;
    reference::write(&system, &system.reference)?;
    stamp.keep(disk)?;
    Ok(system)
}

/// GUID of the EFI system partition.
///
/// # Errors
/// None, as long as it is one.
pub fn esp_unique() -> Result<[u8; 16]> {
    guid(ESP_UNIQUE)
}

/// Where on the disk the first root's partition begins, in bytes.
pub const ROOT_OFFSET: u64 = GRAIN + ESP_BYTES;
/// Where on the disk the EFI system partition begins, in bytes.
pub const ESP_OFFSET: u64 = GRAIN;

/// `gpt`: a power cut while the partition table is written leaves its second copy (`updated/slots`).
fn command_line(
    bootable: &Bootable,
    layout: &Layout,
    places: [usize; 5],
    (floor, more): (u32, &[String]),
) -> Result<String> {
    let hash = &bootable.root.root_hash;
    let [root, tree] = halves(hash)?.map(|half| format!("PARTUUID={half}"));
    let root = bootable.root.dm_create_apart("root", 0, &root, &tree);
    let words = without_settings(&bootable.words(&root, layout), more);
    let mut words = vec![
        words,
        "gpt".to_owned(),
        format!("GABION_ESP={}", layout.esp_device()),
        "GABION_TPM=1".to_owned(),
    ];
    let reference = Layout::default();
    if (&layout.disk, &layout.apps) != (&reference.disk, &reference.apps) {
        words.push(format!("dm-mod.waitfor={},{}", last_device(layout, places), layout.apps));
    }
    if floor > 0 {
        words.push(format!("GABION_FLOOR={floor}"));
    }
    words.extend_from_slice(more);
    Ok(words.join(" "))
}

/// The words without those settings of the kernel that `more` has of its own: some can be set once and not back.
fn without_settings(words: &str, more: &[String]) -> String {
    let anew = |word: &&str| {
        let key = word.split_once('=').map_or(*word, |(key, _)| key);
        let is = |other: &String| other.split_once('=').is_some_and(|(other, _)| other == key);
        key.starts_with("sysctl.") && more.iter().any(is)
    };
    words.split(' ').filter(|word| !anew(word)).collect::<Vec<_>>().join(" ")
}

/// The GUIDs of a root and its tree, as they are written.
fn halves(hash: &str) -> Result<[String; 2]> {
    let half = |at: usize| -> Option<String> {
        let lengths = [8, 4, 4, 4, 12];
        let mut at = at;
        let mut groups = Vec::new();
        for length in lengths {
            groups.push(hash.get(at..at + length)?);
            at += length;
        }
        Some(groups.join("-"))
    };
    Ok([half(0).context("a short root hash")?, half(32).context("a short root hash")?])
}

/// What may have led to a layout that can not be.
const DEFAULTS: &str = "where it does not say, `esp` is 1 and the slots are 2 3 and 4 5";

/// The places in the table of the EFI system partition, and of each slot's root and tree.
fn places(layout: &Layout) -> Result<[usize; 5]> {
    let [(root, tree), (other_root, other_tree)] = layout.slots.unwrap_or([(1, 2), (3, 4)]);
    let places = [layout.esp.unwrap_or_default(), root, tree, other_root, other_tree];
    layout.leave_free(places.into_iter()).map_err(|why| anyhow!("{why}: {DEFAULTS}"))?;
    let mut seen = BTreeSet::new();
    match places.iter().find(|place| !seen.insert(**place)) {
        None => Ok(places),
        Some(place) => {
            bail!("the layout leaves two partitions of this disk the number {}: {DEFAULTS}", place + 1)
        }
    }
}

/// What is there once the kernel knows all of the system's partitions: it finds them one after the other. It waits for that, and not for
/// the root's own, which are not there for ever when the system is none.
fn last_device(layout: &Layout, places: [usize; 5]) -> String {
    layout.partition(places.iter().max().map_or(0, |place| place + 1))
}

fn write(disk: &Path, places: [usize; 5], release: &str, root: &Verified, esp: &Path) -> Result<()> {
    let [root_guid, tree_guid] = halves(&root.root_hash)?;
    let image = fs::read(&root.image).with_context(|| format!("reading {}", root.image.display()))?;
    let data_bytes = usize::try_from(root.data_blocks * BLOCK)?;
    let (data, tree) = image.split_at_checked(data_bytes).context("a root image that is too short")?;
    ensure!(data.len() as u64 <= ROOT_BYTES, "the root does not fit its partition of {ROOT_BYTES} bytes");
    ensure!(
        tree.len() as u64 <= TREE_BYTES,
        "the hash tree does not fit its partition of {TREE_BYTES} bytes"
    );
    let partition = |place, kind, unique, label: String, attributes, bytes| Partition {
        place,
        kind,
        unique,
        label,
        attributes,
        bytes,
    };
    let empty = |place, kind: &'static str, bytes| {
        let mut unique = [0; 16];
        unique.copy_from_slice(sha256(&[b"empty", kind.as_bytes()]).get(..16).unwrap_or(&[0; 16]));
        partition(place, kind, unique, "_empty".to_owned(), gpt::READ_ONLY, bytes)
    };
    let filled = |place, kind, unique: &str, label, bytes| -> Result<Partition> {
        Ok(partition(place, kind, guid(unique)?, label, gpt::READ_ONLY, bytes))
    };
    let [at_esp, at_root, at_tree, at_other_root, at_other_tree] = places;
    let partitions = [
        partition(at_esp, gpt::ESP, esp_unique()?, "esp".to_owned(), 0, ESP_BYTES),
        filled(at_root, gpt::ROOT, &root_guid, format!("gabion_{release}"), ROOT_BYTES)?,
        filled(at_tree, gpt::ROOT_VERITY, &tree_guid, format!("gabion_{release}_verity"), TREE_BYTES)?,
        empty(at_other_root, gpt::ROOT, ROOT_BYTES),
        empty(at_other_tree, gpt::ROOT_VERITY, TREE_BYTES),
    ];
    let file: File = gpt::format(disk, GRAIN, &partitions)?;
    let esp = fs::read(esp)?;
    for (index, content) in [(0, esp.as_slice()), (1, data), (2, tree)] {
        file.write_all_at(content, gpt::start(GRAIN, &partitions, index))?;
    }
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_that_is_given_anew_stands_once() {
        let words = "ro sysctl.kernel.a=3 sysctl.vm.b=2 root=\"x,,,ro,0 1\"";
        let more = ["sysctl.kernel.a=0", "ro", "root=other"].map(str::to_owned);
        assert_eq!(without_settings(words, &more), "ro sysctl.vm.b=2 root=\"x,,,ro,0 1\"");
        assert_eq!(without_settings(words, &[]), words);
    }

    #[test]
    fn layout_that_leaves_two_partitions_one_number_makes_no_disk() {
        let layout = |text| Layout::parse(text).unwrap();
        assert_eq!(places(&Layout::default()).unwrap(), [0, 1, 2, 3, 4]);
        let other = layout("disk /dev/sda\nesp 3\nslot 7 5\nslot 6 12\n");
        assert_eq!(places(&other).unwrap(), [2, 6, 4, 5, 11]);
        assert_eq!(last_device(&other, places(&other).unwrap()), "/dev/sda12");
        let first = layout("disk /dev/mmcblk0\nesp 1\n");
        assert_eq!(last_device(&first, places(&first).unwrap()), "/dev/mmcblk0p5");
        assert!(places(&layout("esp 3\n")).unwrap_err().to_string().contains("the number 3"));
        let data = places(&layout("disk /dev/mmcblk0\ndata /dev/mmcblk0p4\n")).unwrap_err().to_string();
        assert!(data.contains("/dev/mmcblk0p4 is the system's"), "{data}");
    }

    #[test]
    fn halves_of_a_hash_are_the_guids_of_root_and_tree() {
        let hash = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
        let [root, tree] = halves(hash).unwrap();
        assert_eq!(root, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(tree, "01234567-89ab-cdef-0123-456789abcdef");
        assert!(halves("0011").is_err());
    }
}
