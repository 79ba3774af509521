//! Images made for tests.

#![allow(dead_code, reason = "each test file uses a part")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot make its image has failed"
)]

pub(crate) mod mutant;

use package::elf::Machine;
use package::erofs::{self, Contents, Refusal};
use package::tree::Wrong;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The checker's word on it.
pub(crate) fn verdict(image: &[u8]) -> Result<Contents, Refusal> {
    erofs::check(image, Machine::HERE)
}

/// As `image/src/erofs.rs` has it made.
pub(crate) fn image(root: &Path) -> Vec<u8> {
    format(root, &["-zlz4hc,12", "-x-1"])
}

/// With these options instead.
pub(crate) fn format(root: &Path, options: &[&str]) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("it.img");
    let uuid = "67616269-6f6e-4000-8000-617070696d67";
    let made = Command::new("mkfs.erofs")
        .args(["--quiet", "-T0", "--all-root", "-U", uuid])
        .args(options)
        .arg(&file)
        .arg(root)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("mkfs.erofs of Debian's erofs-utils");
    assert!(made.success());
    fs::read(file).unwrap()
}

/// What is wrong with an entry of an image of a tree that `make` made.
pub(crate) fn refusal(make: impl FnOnce(&Path)) -> Wrong {
    let tree = tempfile::tempdir().unwrap();
    make(tree.path());
    match verdict(&image(tree.path())) {
        Err(Refusal::Entry(problem)) => problem.wrong,
        other => panic!("{other:?}"),
    }
}

/// An image with all that a package may have: compressed and plain files, links, hard links, a directory of several blocks.
pub(crate) fn rich() -> (Vec<u8>, TempDir) {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    for directory in ["bin", "many", "empty"] {
        fs::create_dir(at(directory)).unwrap();
    }
    fs::copy("/bin/busybox", at("bin/busybox")).unwrap();
    symlink("busybox", at("bin/sh")).unwrap();
    symlink("busy".repeat(100), at("bin/long")).unwrap();
    fs::hard_link(at("bin/busybox"), at("bin/same")).unwrap();
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(20_000)
    .collect();
    fs::write(at("bin/plain"), &noise).unwrap();
    fs::write(at("bin/zeros"), vec![0; 3 << 20]).unwrap();
    fs::write(at("bin/nothing"), "").unwrap();
    fs::write(at("bin/block"), vec![b'a'; 4096]).unwrap();
    fs::write(at("text"), "a line of text\n".repeat(2000)).unwrap();
    for number in 0..400 {
        fs::write(at(&format!("many/a-rather-long-name-{number:04}")), format!("{number}\n")).unwrap();
    }
    (image(tree.path()), tree)
}

/// The smallest program that the checker takes.
pub(crate) fn program() -> Vec<u8> {
    let machine: u16 = if Machine::HERE == Machine::X86_64 { 62 } else { 183 };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([2_u16, machine].iter().flat_map(|half| half.to_le_bytes()));
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([0_u64, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([64_u16, 56, 1, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    // PT_GNU_STACK, readable and writable.
    bytes.extend([0x6474_e551_u32, 6].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend([0; 48]);
    bytes
}
