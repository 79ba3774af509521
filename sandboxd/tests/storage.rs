//! `/data` on a real ext4 in a loop device: made, renamed, found again. Must run as root, with `mke2fs` at hand.
//! Quota and growth are left to the tests on the device: a developer's kernel may be built without the one, and its root be without the capability for the other.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use sandboxd::storage::{self, Quota};

/// A writable loop device by `losetup`, given back at the end.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path) -> Self {
        let out = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Self(String::from_utf8(out.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

fn template(at: &Path) {
    File::create(at).unwrap().set_len(16 << 20).unwrap();
    let options = ["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-O", "metadata_csum_seed"];
    let done = Command::new("mke2fs").args(options).arg(at).status().unwrap();
    assert!(done.success());
}

#[test]
fn data_is_made_renamed_and_found_again() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    // This thread's own mounts.
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
    sys::mount::make_all_private().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (image, disk, at) = (dir.path().join("template"), dir.path().join("disk"), dir.path().join("data"));
    template(&image);
    File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    fs::create_dir(&at).unwrap();
    let device = Loop::new(&disk);

    assert!(storage::mount_data(&device.0, &image, &at, Quota::NotEnforced).unwrap(), "first boot");
    assert!(storage::is_mounted(&at));
    let mine =
        storage::private(&at.join("apps"), "com.example.a", 10_000, 10_000, 1 << 20, Quota::NotEnforced)
            .unwrap();
    let meta = fs::metadata(&mine).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (10_000, 10_000, 0o700));
    fs::write(mine.join("kept"), "x").unwrap();

    sys::mount::detach(&std::ffi::CString::new(at.to_str().unwrap()).unwrap()).unwrap();
    let uuid = |p: &Path| fs::read(p).unwrap()[1024 + 0x68..1024 + 0x78].to_vec();
    assert_ne!(uuid(&disk), uuid(&image));
    assert!(!storage::mount_data(&device.0, &image, &at, Quota::NotEnforced).unwrap(), "second boot");
    assert!(mine.join("kept").exists());
    sys::mount::detach(&std::ffi::CString::new(at.to_str().unwrap()).unwrap()).unwrap();
}
