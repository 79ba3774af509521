//! A device on its board: what is signed starts and is measured, and nothing else does. Keys are typed at the console all the
//! time that the firmware and the boot loader run, and nothing may come of it.

use crate::heart;
use device_test::chain::{KERNEL, Opened, flipped, unsigned};
use device_test::{Bench, Device, PATIENCE};
use image::chain::esp;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest wait for the firmware to come so far again. It takes ten seconds, and many times that where others compile.
const PASS: Duration = Duration::from_secs(3 * PATIENCE.as_secs());
/// PCRs that are of the firmware, the boot loader and the kernel image.
const OF_THE_CHAIN: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12];

#[test]
fn board_starts_what_is_signed_and_its_log_replays_to_the_predicted_registers() {
    let mut device = Bench::new("chain").app(heart()).board().boot().unwrap();
    device.wait_for("[org.test.heart] beat 1");
    let system = device.system().unwrap();
    let said = device.agent("cat /proc/cmdline").join("");
    assert_eq!(said.trim(), system.command_line);
    let registers: BTreeMap<u8, String> =
        OF_THE_CHAIN.into_iter().map(|number| (number, register(&mut device, number))).collect();
    assert_eq!(registers[&7], hex(&system.pcr7.0), "PCR 7 is not what was predicted");
    assert_eq!(registers[&11], hex(&system.pcr11.0), "PCR 11 is not what was predicted");
    assert_eq!(
        registers[&12],
        hex(&system.pcr12.0),
        "the stub has taken more than the image's own command line"
    );
    device.agent("securityfs");
    let log = device.agent("hex /sys/kernel/security/tpm0/binary_bios_measurements").join("");
    let (replayed, text) = replay(&bytes(&log));
    for (number, value) in &registers {
        assert_eq!(replayed.get(number), Some(value), "PCR {number}");
    }
    for (part, hash) in [("boot loader", system.loader), ("kernel image", system.kernel_image)] {
        assert!(text.contains(&hex(&hash)), "the {part} is not in the log:\n{text}");
    }
    let off = device.power_button();
    assert_eq!(off.kernels().unwrap(), ["gabion_0.1.0.efi"], "what is good is not counted");
}

/// Each of them the newest when its turn comes, with one attempt; and an entry of the other kind that wants the good one
/// with another command line.
fn kernels_of_others(board: &Opened) -> anyhow::Result<()> {
    let good = board.kernel_image()?;
    board.put("loader/loader.conf", b"timeout 0\neditor yes\nauto-entries yes\n")?;
    board.add_kernel("9.0.1", &unsigned(&board.small_kernel("9.0.1", &board.keys()?)?)?)?;
    board.add_kernel("9.0.2", &board.small_kernel("9.0.2", &board.strange_keys()?)?)?;
    board.add_kernel("9.0.3", &flipped(&board.small_kernel("9.0.3", &board.keys()?)?, ".cmdline")?)?;
    board.put("EFI/gabion/good.efi", &good)?;
    board.make_folder("loader/entries")?;
    let entry =
        "title Mine\nsort-key gabion\nversion 8.0.0\nefi /EFI/gabion/good.efi\noptions init=/bin/evil\n";
    board.put("loader/entries/mine.conf", entry.as_bytes())
}

#[test]
fn kernel_images_that_are_not_as_signed_do_not_start_and_the_next_does_with_its_own_command_line() {
    let bench = Bench::new("chain-kernels").app(heart()).tampered(kernels_of_others).resets();
    let mut device = bench.boot().unwrap();
    for release in ["9.0.3", "9.0.2", "9.0.1"] {
        device.wait_count(0, &format!("Error loading *gabion_{release}*: Access Denied"), 1, PASS);
    }
    // Of the entry with a command line of its own: the image has its own.
    device.wait_count(0, KERNEL, 1, PASS);
    device.wait_for("[org.test.heart] beat 1");
    assert_eq!(device.console().lines(0, KERNEL).len(), 1, "a kernel was started more than once");
    let said = device.agent("cat /proc/cmdline").join("");
    assert_eq!(said.trim(), device.system().unwrap().command_line);
    assert_eq!(register(&mut device, 11), hex(&device.system().unwrap().pcr11.0));
}

#[test]
fn boot_loader_that_was_altered_does_not_start_and_nothing_else_is_offered() {
    let altered = |board: &Opened| {
        for path in [esp::LOADER, esp::FALLBACK, esp::AGAIN] {
            board.put(path, &flipped(&board.read(path)?, ".text")?)?;
        }
        Ok(())
    };
    let device = Bench::new("chain-loader").app(heart()).tampered(altered).boot().unwrap();
    device.wait_for("BdsDxe: failed to load Boot0000 *Access Denied");
    device.wait_for("BdsDxe: failed to load Boot0001 *Access Denied");
    // What the firmware finds by itself: the same boot loader, and disks without any. Then it stops.
    device.wait_for("BdsDxe: failed to load Boot0002 *Access Denied");
    device.wait_for("BdsDxe: failed to load Boot0004 *Not Found");
    let off = device.cut_power();
    assert_eq!(off.console().lines(0, KERNEL).len(), 0);
    for word in ["Shell", "Press", "Boot Manager", "Setup"] {
        assert_eq!(off.console().lines(0, word), [""; 0]);
    }
}

#[test]
fn root_with_a_flipped_bit_is_not_mounted_and_the_board_starts_again() {
    /// In the superblock of EROFS.
    const SUPERBLOCK: u64 = 1024;
    let altered = |board: &Opened| board.flip_root(SUPERBLOCK);
    let device = Bench::new("chain-root").app(heart()).tampered(altered).resets().boot().unwrap();
    device.wait_for("verity: *data block 0 is corrupted");
    device.wait_for("Kernel panic - not syncing: VFS: Unable to mount root fs");
    device.wait_count(0, "BdsDxe: loading Boot0000", 2, PASS);
}

/// A PCR, as the kernel has it from the TPM.
fn register(device: &mut Device, number: u8) -> String {
    device.agent(&format!("cat /sys/class/tpm/tpm0/pcr-sha256/{number}")).join("").trim().to_lowercase()
}

/// What `tpm2_eventlog` makes of a log: the registers it adds up to, and all it says.
fn replay(log: &[u8]) -> (BTreeMap<u8, String>, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(log).unwrap();
    let said = Command::new("tpm2_eventlog").arg(file.path()).stderr(Stdio::null()).output().unwrap();
    assert!(said.status.success());
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let (_, sums) = text.split_once("\npcrs:\n").unwrap();
    let sums = sums.lines().filter_map(|line| {
        let (number, value) = line.split_once(':')?;
        Some((number.trim().parse().ok()?, value.trim().strip_prefix("0x")?.to_owned()))
    });
    let mut registers: BTreeMap<u8, String> = sums.collect();
    // It leaves out what was never extended.
    for number in OF_THE_CHAIN {
        registers.entry(number).or_insert_with(|| hex(&[0; 32]));
    }
    (registers, text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(digit).collect()
}
