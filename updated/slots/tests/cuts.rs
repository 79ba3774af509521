//! Power that goes at any write of an update, and what starts then.
//!
//! A disk keeps what was flushed, and of what was not any sectors, or none. What starts is found by code that is not ours:
//! `fatfs` reads the EFI system partition, and the disk is made by `sfdisk`, `mkfs.vfat` and `mcopy`. What the firmware and
//! the boot loader do with it is modelled by their specifications: a copy of the table whose sums are right, kernel images
//! that are what was signed, in the order of their names.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::process::{Command, Stdio};

use proptest::test_runner::{RngAlgorithm, TestRng};
use slots::disk::{Disk, SECTOR};
use slots::gpt::Gpt;
use slots::install::{Release, Slots};
use slots::kernel::Kernel;
use slots::layout::{KERNELS, Layout};

const MIB: usize = 1 << 20;
const BYTES: usize = 12 * MIB;
/// Where the partition of the kernel images is.
const ESP: (usize, usize) = (MIB, 4 * MIB);
/// Where each slot's root and hash tree are.
const ROOTS: [usize; 2] = [5 * MIB, 7 * MIB];
const TREES: [usize; 2] = [6 * MIB, 8 * MIB];
const ROOT_BYTES: usize = 32 * 1024;
const TREE_BYTES: usize = 4096;

/// What was written, as a disk sees it.
#[derive(Clone, Debug)]
enum Event {
    Write(usize, Vec<u8>),
    Flush,
}

/// A disk that remembers its writes.
struct Recorder {
    now: Vec<u8>,
    events: Vec<Event>,
    /// A disk, or a program, that does not wait.
    careless: bool,
}

impl Disk for Recorder {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        into.copy_from_slice(self.now.get(at..at + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&mut self, at: u64, sectors: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        assert!(at.is_multiple_of(SECTOR) && sectors.len().is_multiple_of(SECTOR), "not whole sectors");
        self.now[at..at + sectors.len()].copy_from_slice(sectors);
        self.events.push(Event::Write(at, sectors.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.careless {
            self.events.push(Event::Flush);
        }
        Ok(())
    }
}

/// A system: of a number, everything of it.
struct System {
    version: String,
    root_hash: [u8; 32],
    root: Vec<u8>,
    tree: Vec<u8>,
    kernel: Vec<u8>,
}

impl System {
    fn new(number: u8) -> Self {
        let fill = |length: usize, salt: u8| {
            (0..length).map(|at| (at / SECTOR) as u8 ^ number.wrapping_mul(37) ^ salt).collect::<Vec<u8>>()
        };
        Self {
            version: format!("1.{number}.0"),
            root_hash: std::array::from_fn(|at| number ^ (at as u8)),
            root: fill(ROOT_BYTES, 1),
            tree: fill(TREE_BYTES, 2),
            // No whole number of clusters.
            kernel: fill(40_000 + usize::from(number) * 700, 3),
        }
    }

    fn release(&self) -> Release<'_> {
        Release { version: &self.version, root_hash: self.root_hash, kernel: &self.kernel }
    }
}

fn run(command: &mut Command, input: &str) {
    use std::io::Write;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
}

/// A disk as it leaves the maker, and with the system known to be good.
fn disk(system: &System) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let (disk, esp, kernel) =
        (place.path().join("disk"), place.path().join("esp"), place.path().join("kernel"));
    std::fs::File::create(&disk).unwrap().set_len(BYTES as u64).unwrap();
    let guid = |from: usize| {
        let hex: String =
            system.root_hash[from..from + 16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    };
    let (root, tree) = ("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5");
    let script = format!(
        "label: gpt\nsize=4MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\nsize=1MiB, type={root}, uuid={}\n\
         size=1MiB, type={tree}, uuid={}\nsize=1MiB, type={root}\nsize=1MiB, type={tree}\n",
        guid(0),
        guid(16),
    );
    run(Command::new("sfdisk").arg("--quiet").arg(&disk), &script);
    std::fs::File::create(&esp).unwrap().set_len(ESP.1 as u64).unwrap();
    run(Command::new("mkfs.vfat").args(["-F", "16", "-s", "1"]).arg(&esp), "");
    std::fs::write(&kernel, &system.kernel).unwrap();
    let name = Kernel::new(&system.version).good().to_string();
    for folder in ["::EFI", "::EFI/Linux", "::EFI/BOOT"] {
        run(Command::new("mmd").arg("-i").arg(&esp).arg(folder), "");
    }
    for to in [format!("::{KERNELS}/{name}"), "::EFI/BOOT/BOOTX64.EFI".to_owned()] {
        run(Command::new("mcopy").arg("-i").arg(&esp).arg(&kernel).arg(to), "");
    }
    let mut bytes = std::fs::read(&disk).unwrap();
    bytes[ESP.0..ESP.0 + ESP.1].copy_from_slice(&std::fs::read(&esp).unwrap());
    bytes[ROOTS[0]..ROOTS[0] + ROOT_BYTES].copy_from_slice(&system.root);
    bytes[TREES[0]..TREES[0] + TREE_BYTES].copy_from_slice(&system.tree);
    bytes
}

/// The steps of an update, as the updater does them.
fn update(disk: &mut impl Disk, old: &System, new: &System) {
    let mut slots = Slots::read(disk, BYTES as u64, &old.root_hash, &Layout::default()).unwrap();
    slots.disarm(disk, &old.version).unwrap();
    let (root, tree) = slots.other().unwrap();
    for (partition, content) in [(root, &new.root), (tree, &new.tree)] {
        for (index, part) in content.chunks(4 * SECTOR).enumerate() {
            disk.write(partition.from + (index * 4 * SECTOR) as u64, part).unwrap();
        }
    }
    disk.flush().unwrap();
    slots.arm(disk, &new.release()).unwrap();
}

/// What starts, or why nothing does.
fn starts(bytes: &[u8], systems: &[&System]) -> Result<usize, String> {
    let recorder = Recorder { now: bytes.to_vec(), events: Vec::new(), careless: false };
    let table = Gpt::read(&recorder, BYTES as u64).map_err(|fault| fault.to_string())?;
    let esp = bytes[ESP.0..ESP.0 + ESP.1].to_vec();
    let files =
        fatfs::FileSystem::new(Cursor::new(esp), fatfs::FsOptions::new()).map_err(|e| e.to_string())?;
    let mut loader = Vec::new();
    let path = "EFI/BOOT/BOOTX64.EFI";
    files
        .root_dir()
        .open_file(path)
        .and_then(|mut file| file.read_to_end(&mut loader))
        .map_err(|e| e.to_string())?;
    if loader != systems[0].kernel {
        return Err("the boot loader is not what it was".to_owned());
    }
    let folder = files.root_dir().open_dir(KERNELS).map_err(|error| error.to_string())?;
    let mut kernels = Vec::new();
    for entry in folder.iter() {
        let entry = entry.map_err(|error| error.to_string())?;
        let mut content = Vec::new();
        if let Some(kernel) = Kernel::of(&entry.file_name()) {
            entry.to_file().read_to_end(&mut content).map_err(|error| error.to_string())?;
            kernels.push((kernel, content));
        }
    }
    kernels.sort_by(|a, b| a.0.precedence(&b.0));
    // Each that is there is whole: the firmware never has to refuse one.
    let (kernel, content) = kernels.first().ok_or("there is no kernel image")?;
    let of = |content: &Vec<u8>| systems.iter().position(|system| system.kernel == *content);
    if let Some((kernel, _)) = kernels.iter().find(|(_, content)| of(content).is_none()) {
        return Err(format!("{kernel} is torn"));
    }
    let number = of(content).ok_or_else(|| format!("{kernel} is torn"))?;
    let system = systems[number];
    if system.version != kernel.version {
        return Err(format!("{kernel} has another's content"));
    }
    // The kernel finds its root and the hash tree by their GUIDs.
    let find = |half: &[u8]| {
        let mut guid: [u8; 16] = half.try_into().unwrap();
        guid[..4].reverse();
        guid[4..6].reverse();
        guid[6..8].reverse();
        let all = table.partitions();
        all.into_iter()
            .flatten()
            .find(|partition| partition.unique == guid)
            .map(|partition| partition.from as usize)
    };
    for (half, content) in [(&system.root_hash[..16], &system.root), (&system.root_hash[16..], &system.tree)]
    {
        let at = find(half).ok_or_else(|| format!("{kernel} finds no root"))?;
        if bytes[at..at + content.len()] != content[..] {
            return Err(format!("{kernel} finds a root that is torn"));
        }
    }
    Ok(number)
}

/// Disks as a cut may leave them, at each flush and each write, with subsets of what was not flushed. `look` is told what was
/// whole by then.
fn cuts(before: &[u8], events: &[Event], subsets: usize, mut look: impl FnMut(&[u8])) {
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut flushed = before.to_vec();
    let mut waiting: Vec<(usize, [u8; SECTOR])> = Vec::new();
    let apply = |disk: &mut Vec<u8>, sectors: &[(usize, [u8; SECTOR])], chosen: &dyn Fn(usize) -> bool| {
        let mut undo = BTreeMap::new();
        for (_, (at, sector)) in sectors.iter().enumerate().filter(|(index, _)| chosen(*index)) {
            undo.entry(*at).or_insert_with(|| disk[*at..at + SECTOR].to_vec());
            disk[*at..at + SECTOR].copy_from_slice(sector);
        }
        undo
    };
    let mut some = |flushed: &mut Vec<u8>, waiting: &[(usize, [u8; SECTOR])], count: usize| {
        for round in 0..count {
            use proptest::prelude::Rng;
            let bits: Vec<u64> = (0..=waiting.len() / 64).map(|_| random.next_u64()).collect();
            // All but a few, a few, half.
            let chosen = |index: usize| {
                let bit = bits[index / 64] >> (index % 64) & 1 == 1;
                match round % 4 {
                    0 => bit,
                    1 => index + round / 4 < waiting.len(),
                    2 => index >= waiting.len().saturating_sub(1 + round / 4),
                    _ => bits[index / 64].rotate_left(7) >> (index % 64) & 3 != 0 || bit,
                }
            };
            let undo = apply(flushed, waiting, &chosen);
            look(flushed);
            undo.into_iter().for_each(|(at, sector)| flushed[at..at + SECTOR].copy_from_slice(&sector));
        }
    };
    for event in events {
        match event {
            Event::Write(at, bytes) => {
                waiting.extend(
                    bytes.chunks(SECTOR).enumerate().map(|(index, sector)| {
                        (at + index * SECTOR, <[u8; SECTOR]>::try_from(sector).unwrap())
                    }),
                );
                some(&mut flushed, &waiting, 1);
            }
            Event::Flush => {
                some(&mut flushed, &waiting, subsets);
                let _ = apply(&mut flushed, &waiting, &|_| true);
                waiting.clear();
                some(&mut flushed, &waiting, 1);
            }
        }
    }
    some(&mut flushed, &waiting, subsets);
}

fn recorded(before: &[u8], careless: bool, act: impl FnOnce(&mut Recorder)) -> (Vec<u8>, Vec<Event>) {
    let mut disk = Recorder { now: before.to_vec(), events: Vec::new(), careless };
    act(&mut disk);
    (disk.now, disk.events)
}

#[test]
fn update_that_is_cut_anywhere_starts_the_old_system_or_the_new_and_is_done_again() {
    let (old, new) = (System::new(1), System::new(2));
    let before = disk(&old);
    assert_eq!(starts(&before, &[&old, &new]), Ok(0));
    let (after, events) = recorded(&before, false, |disk| update(disk, &old, &new));
    assert_eq!(starts(&after, &[&old, &new]), Ok(1));
    let (mut cut, mut started) = (0, [0; 2]);
    cuts(&before, &events, 16, |disk| {
        let number = starts(disk, &[&old, &new]).unwrap();
        started[number] += 1;
        cut += 1;
        // Some of them are updated again, to another version; that too may be cut, and is done a third time.
        if number == 0 && cut % 61 == 0 {
            let third = System::new(3);
            let (again, events) = recorded(disk, false, |disk| update(disk, &old, &third));
            assert_eq!(starts(&again, &[&old, &new, &third]), Ok(2));
            cuts(disk, &events, 1, |disk| {
                starts(disk, &[&old, &new, &third]).unwrap();
            });
        }
    });
    println!("{cut} cuts: {} start the old system, {} the new", started[0], started[1]);
    assert!(started[0] > 50 && started[1] > 0, "{started:?}");
}

#[test]
fn verdict_that_is_cut_leaves_the_system_by_one_name_or_the_other() {
    let (old, new) = (System::new(1), System::new(2));
    let (before, _) = recorded(&disk(&old), false, |disk| update(disk, &old, &new));
    for (good, expected) in [(true, Ok(1)), (false, Ok(0))] {
        let verdict = |disk: &mut Recorder| {
            let slots = Slots::read(disk, BYTES as u64, &new.root_hash, &Layout::default()).unwrap();
            if good { slots.bless(disk, &new.version) } else { slots.fail(disk, &new.version) }.unwrap();
        };
        let (after, events) = recorded(&before, false, verdict);
        assert_eq!(starts(&after, &[&old, &new]), expected);
        cuts(&before, &events, 16, |disk| {
            starts(disk, &[&old, &new]).unwrap();
            let (again, _) = recorded(disk, false, verdict);
            assert_eq!(starts(&again, &[&old, &new]), expected);
        });
    }
}

/// The same steps without a flush between them: the test must see that.
#[test]
fn update_that_does_not_wait_is_found_out() {
    let (old, new) = (System::new(1), System::new(2));
    let before = disk(&old);
    let (_, events) = recorded(&before, true, |disk| update(disk, &old, &new));
    let mut broken = BTreeMap::new();
    cuts(&before, &events, 60, |disk| {
        if let Err(why) = starts(disk, &[&old, &new]) {
            *broken.entry(why).or_insert(0) += 1;
        }
    });
    println!("{broken:?}");
    assert!(broken.len() > 1, "nothing was found: {broken:?}");
}

#[test]
fn updates_follow_each_other_and_the_judges_find_nothing() {
    let mut bytes = disk(&System::new(1));
    for number in 1..20 {
        let (old, new) = (System::new(number), System::new(number + 1));
        (bytes, _) = recorded(&bytes, false, |disk| {
            update(disk, &old, &new);
            Slots::read(disk, BYTES as u64, &new.root_hash, &Layout::default())
                .unwrap()
                .bless(disk, &new.version)
                .unwrap();
        });
        let loader = System { kernel: System::new(1).kernel, ..System::new(1) };
        assert_eq!(starts(&bytes, &[&loader, &old, &new]), Ok(2), "{number}");
    }
    let place = tempfile::tempdir().unwrap();
    let (disk, esp) = (place.path().join("disk"), place.path().join("esp"));
    std::fs::write(&disk, &bytes).unwrap();
    std::fs::write(&esp, &bytes[ESP.0..ESP.0 + ESP.1]).unwrap();
    run(Command::new("sfdisk").args(["--quiet", "--verify"]).arg(&disk), "");
    // Reads only; complains of anything that is not as it should be.
    run(Command::new("fsck.vfat").arg("-n").arg(&esp), "");
}
