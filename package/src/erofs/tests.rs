//! Against images that `mkfs.erofs` made: what is in them is read as it was, and nothing that is done to them gets past.

use super::*;
use std::fs;
use std::path::Path;
use std::process::Command;

fn image(root: &Path) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("image");
    let mut mkfs = Command::new("mkfs.erofs");
    mkfs.args([
        "--quiet",
        "-zlz4hc,12",
        "-T0",
        "-x-1",
        "--all-root",
        "-U",
        "67616269-6f6e-4000-8000-617070696d67",
    ]);
    assert!(mkfs.arg(&image).arg(root).status().expect("mkfs.erofs (erofs-utils)").success());
    fs::read(image).unwrap()
}

/// Files of every size that matters to a layout, compressible and not; a directory of several blocks.
fn varied(root: &Path) {
    let mut state = 1_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(next).collect()
    };
    fs::create_dir_all(root.join("many/deeper")).unwrap();
    for size in [0, 1, 100, 4095, 4096, 4097, 8192, 60_000, 300_000] {
        fs::write(
            root.join(format!("text{size}")),
            "all work and no play ".repeat(size).get(..size).unwrap(),
        )
        .unwrap();
        fs::write(root.join(format!("noise{size}")), noise(size)).unwrap();
        let mut mixed = noise(size / 3);
        mixed.extend(vec![7; size / 3]);
        mixed.extend(noise(size / 5));
        fs::write(root.join(format!("mixed{size}")), mixed).unwrap();
    }
    for n in 0..500 {
        fs::write(root.join(format!("many/file-with-a-longer-name-{n}")), n.to_string()).unwrap();
    }
    fs::copy("/bin/busybox", root.join("busybox")).unwrap();
    std::os::unix::fs::symlink("../busybox", root.join("many/sh")).unwrap();
}

/// Compares what the image has with what it was made of.
fn same(image: &Image<'_>, inode: &Inode, at: &Path) -> usize {
    let data = image.data(inode, FILE_MAX).unwrap();
    if inode.kind != Kind::Directory {
        let expected = match inode.kind {
            Kind::Link(_) => fs::read_link(at).unwrap().into_os_string().into_encoded_bytes(),
            _ => fs::read(at).unwrap(),
        };
        assert!(data == expected, "{}", at.display());
        return 1;
    }
    let entries =
        data.chunks(BLOCK).flat_map(|block| names(block).unwrap().map(Option::unwrap).collect::<Vec<_>>());
    let entries = entries.filter(|(_, _, name)| *name != b"." && *name != b"..");
    entries.map(|(nid, _, name)| same(image, &image.inode(nid).unwrap(), &at.join(str(name)))).sum()
}

fn str(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap()
}

#[test]
fn image_of_mkfs_is_good_and_read_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    varied(root.path());
    let bytes = image(root.path());
    let contents = check(&bytes, Machine::HERE).unwrap();
    let opened = Image::open(&bytes).unwrap();
    let files = same(&opened, &opened.inode(opened.root).unwrap(), root.path());
    assert_eq!(files, 3 * 9 + 500 + 2);
    assert_eq!(contents.entries as usize, files + 2);
}

#[test]
fn image_cut_short_anywhere_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::copy("/bin/busybox", root.path().join("busybox")).unwrap();
    let bytes = image(root.path());
    for end in (0..bytes.len()).step_by(997) {
        assert!(check(&bytes[..end], Machine::HERE).is_err(), "{end}");
    }
}

#[test]
fn image_with_what_no_package_has_is_refused_by_name() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let refused = |make: &dyn Fn(&Path)| {
        let root = tempfile::tempdir().unwrap();
        make(&root.path().join("it"));
        check(&image(root.path()), Machine::HERE).unwrap_err().to_string()
    };
    let node = |at: &Path| mknod(at, SFlag::S_IFBLK, Mode::S_IRWXU, makedev(8, 0)).unwrap();
    assert!(refused(&node).contains("it is a device node"), "{}", refused(&node));
    let setuid = |at: &Path| {
        fs::write(at, "x").unwrap();
        fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    };
    assert!(refused(&setuid).contains("it is setuid"));
    let twice = |at: &Path| {
        fs::write(at, "x").unwrap();
        fs::hard_link(at, at.with_extension("too")).unwrap();
    };
    assert!(refused(&twice).contains("two names"));
}

/// Ten thousand images with something wrong, where it hurts: bits, fields, blocks, ends. None is believed to be what it is
/// not, and none takes long. What is still good was changed where nothing is read, or into another good image.
#[test]
fn ten_thousand_mutated_images_are_refused_or_harmless() {
    let root = tempfile::tempdir().unwrap();
    for size in [0, 10, 5000, 40_000] {
        fs::write(root.path().join(format!("f{size}")), "lorem ipsum ".repeat(size).get(..size).unwrap())
            .unwrap();
    }
    fs::create_dir(root.path().join("d")).unwrap();
    std::os::unix::fs::symlink("f10", root.path().join("d/link")).unwrap();
    let good = image(root.path());
    let whole = check(&good, Machine::HERE).unwrap();
    let mut state = 42_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for round in 0..10_000 {
        let mut bytes = good.clone();
        for _ in 0..=random(3) {
            // Most of it in the metadata, which is in front.
            let span = if random(4) == 0 { bytes.len() } else { 4096.min(bytes.len()) };
            let at = if random(5) == 0 { SUPER + random(128) } else { random(span) };
            match random(5) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)],
                2 => {
                    let from = random(bytes.len() - 32);
                    let at = at.min(bytes.len() - 32);
                    bytes.copy_within(from..from + 32, at);
                }
                3 => {
                    let at = at.min(bytes.len() - 4);
                    let value = [0, 1, u32::MAX, 1 << 31, random(1 << 20) as u32][random(5)];
                    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                }
                _ if round % 7 == 0 => bytes.truncate(at.max(SUPER)),
                _ => bytes[at] = bytes[at].wrapping_add(1),
            }
            if bytes.len() < 8192 {
                break;
            }
        }
        match check(&bytes, Machine::HERE) {
            Err(_) => refused += 1,
            // No larger than what there is to make it of.
            Ok(contents) => {
                assert!(contents.entries <= 64 && contents.bytes <= 64 << 20, "{contents:?} {whole:?}")
            }
        }
    }
    assert!(refused > 2000, "{refused}");
    println!("refused {refused} of 10,000");
}
