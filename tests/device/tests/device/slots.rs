//! A device's system disk while something is in charge of it that believes nothing: what stands in for the update daemon
//! writes the other slot, and sandboxd decides what comes of it. Each write is recorded, and each cut of the power between them
//! is looked at: what would start then is one whole system, the old one or the new.

use crate::heart;
use device_test::chain::KERNEL;
use device_test::writes::{Event, after, cuts};
use device_test::{Bench, Device, PATIENCE};
use image::chain::disk::{ESP_BYTES, ESP_OFFSET, ROOT_OFFSET};
use slots::disk::Disk;
use slots::gpt::Gpt;
use slots::install::KERNELS;
use slots::kernel::Kernel;
use std::fs;
use std::io::{self, Cursor, Read};
use std::time::Duration;

/// Longest wait for the firmware to come so far again.
const PASS: Duration = Duration::from_secs(3 * PATIENCE.as_secs());
const PLACE: &str = "/data/apps/os.gabion.update";

/// Has the stand-in do something.
fn say(device: &mut Device, word: &str) {
    device.agent(&format!("write {PLACE}/word {word}"));
}

/// Waits until the device has started again, for the so-manyth time, and gives what the stand-in hears of the system.
fn next_boot(device: &Device, boots: usize) -> String {
    device.wait_count(0, KERNEL, boots, PASS);
    device.wait_count(0, "updater: heard System(", boots, PASS)
}

#[test]
fn slot_is_armed_only_when_it_reads_back_and_a_system_that_fails_goes_back_with_its_reason() {
    let bench = Bench::new("slots").mostly_idle().app(heart()).resets().board().logged().updater("0.2.0", 0);
    let mut device = bench.boot().unwrap();
    let systems = [Whole::old(&device), Whole::new(&device)];
    let said = next_boot(&device, 1);
    assert!(said.contains("version: \"0.1.0\"") && said.contains("trial: false"), "{said}");
    device.agent(&format!("copy /dev/vdd {PLACE}/payload"));

    say(&mut device, "reboot");
    device.wait_for("updater: heard Refused(\"the next boot would start what runs now\")");
    say(&mut device, "spoil");
    device.wait_for("updater: writing what runs: true");
    device.wait_for("updater: heard Refused(\"can not read the slot back: ");
    say(&mut device, "install");
    device.wait_for("event update-armed version=0.2.0");
    let before = device.disk_before().unwrap();
    let armed = device.writes().unwrap();
    let started = cut_anywhere(&before, &armed, &systems);
    assert!(started[0] > 20 && started[1] > 0, "{started:?}");
    let careless: Vec<Event> = armed.into_iter().filter(|event| !matches!(event, Event::Flush)).collect();
    assert!(breaks(&before, &careless, &systems), "the same writes without a flush are found out");
    say(&mut device, "reboot");

    let said = next_boot(&device, 2);
    assert!(said.contains("version: \"0.2.0\"") && said.contains("trial: true"), "{said}");
    say(&mut device, "fail");
    let said = next_boot(&device, 3);
    assert!(said.contains("version: \"0.1.0\"") && said.contains("trial: false"), "{said}");
    assert!(said.contains("failed: Some((\"0.2.0\", \"the test says so\"))"), "{said}");

    say(&mut device, "install");
    device.wait_count(0, "event update-armed version=0.2.0", 2, PASS);
    say(&mut device, "reboot");
    let said = next_boot(&device, 4);
    assert!(said.contains("version: \"0.2.0\"") && said.contains("failed: None"), "{said}");
    let tried = device.writes().unwrap();
    say(&mut device, "bless");
    device.wait_for("event update-good version=0.2.0");
    let good = device.writes().unwrap();
    let started = cut_anywhere(&after(&before, &tried), &good[tried.len()..], &systems);
    assert!(started[0] == 0 && started[1] > 5, "{started:?}");
    let off = device.power_button();
    assert_eq!(off.kernels().unwrap(), ["gabion_0.1.0.efi", "gabion_0.2.0.efi"]);
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

    fn new(device: &Device) -> Self {
        let (bootable, system) = device.next_release("0.2.0", 0).unwrap();
        let data_bytes = bootable.root.data_blocks as usize * 4096;
        Self::of(&system, fs::read(&bootable.root.image).unwrap(), data_bytes)
    }

    fn of(system: &image::chain::disk::System, root: Vec<u8>, data_bytes: usize) -> Self {
        let digit = |at: usize| u8::from_str_radix(&system.root_hash[2 * at..2 * at + 2], 16).unwrap();
        let (version, kernel) = (system.release.clone(), fs::read(&system.kernel).unwrap());
        Self { version, root_hash: std::array::from_fn(digit), root, data_bytes, kernel }
    }
}

/// How many of the cuts start the old system, and the new.
fn cut_anywhere(before: &[u8], events: &[Event], systems: &[Whole; 2]) -> [usize; 2] {
    let mut started = [0; 2];
    cuts(before, events, 3, in_the_tables(before), |disk| started[starts(disk, systems).unwrap()] += 1);
    println!("cuts: {} start the old system, {} the new", started[0], started[1]);
    started
}

/// Whether there is a cut after which no whole system starts.
fn breaks(before: &[u8], events: &[Event], systems: &[Whole; 2]) -> bool {
    let mut broken = false;
    cuts(before, events, 1, in_the_tables(before), |disk| broken = broken || starts(disk, systems).is_err());
    broken
}

/// What is in a slot matters once something leads there: what is looked at are writes elsewhere, and flushes.
fn in_the_tables(disk: &[u8]) -> impl Fn(usize) -> bool {
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
fn starts(disk: &[u8], systems: &[Whole; 2]) -> Result<usize, String> {
    let table = Gpt::read(&Bytes(disk), disk.len() as u64).map_err(|fault| fault.to_string())?;
    let esp = &disk[ESP_OFFSET as usize..(ESP_OFFSET + ESP_BYTES) as usize];
    let esp = ReadOnly(Cursor::new(esp));
    let files = fatfs::FileSystem::new(esp, fatfs::FsOptions::new()).map_err(|e| e.to_string())?;
    let folder = files.root_dir().open_dir(KERNELS).map_err(|e| e.to_string())?;
    let mut kernels = Vec::new();
    for entry in folder.iter() {
        let entry = entry.map_err(|e| e.to_string())?;
        if let Some(kernel) = Kernel::of(&entry.file_name()) {
            let mut content = Vec::new();
            entry.to_file().read_to_end(&mut content).map_err(|e| e.to_string())?;
            kernels.push((kernel, content));
        }
    }
    kernels.sort_by(|a, b| a.0.precedence(&b.0));
    let of = |content: &[u8]| systems.iter().position(|system| system.kernel == content);
    if let Some((kernel, _)) = kernels.iter().find(|(_, content)| of(content).is_none()) {
        return Err(format!("{kernel} is torn"));
    }
    let (kernel, content) = kernels.first().ok_or("there is no kernel image")?;
    let number = of(content).ok_or("it is torn")?;
    let system = &systems[number];
    if system.version != kernel.version {
        return Err(format!("{kernel} has another's content"));
    }
    let (data, tree) = system.root.split_at(system.data_bytes);
    for (half, content) in [(&system.root_hash[..16], data), (&system.root_hash[16..], tree)] {
        let mut guid: [u8; 16] = half.try_into().map_err(|_| "a hash")?;
        guid[..4].reverse();
        guid[4..6].reverse();
        guid[6..8].reverse();
        let mut all = table.partitions().into_iter().flatten();
        let part = all.find(|part| part.unique == guid).ok_or_else(|| format!("{kernel} finds no root"))?;
        if disk[part.from as usize..][..content.len()] != *content {
            return Err(format!("{kernel} finds a root that is torn"));
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
