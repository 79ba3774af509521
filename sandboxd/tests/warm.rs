//! Reading a new image ahead: what of the old one is in memory, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use sandboxd::warm::Warming;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use sys::pagecache::held;
use tempfile::TempDir;

const PART: usize = 64 << 10;
const MOST: u64 = 16 << 20;

/// On a disk: in a file system in memory everything is there.
fn place() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Makes it, of which nothing is in memory.
fn cold(path: &Path, length: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![7; length]).unwrap();
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let nothing = vec![false; length.div_ceil(PART)];
    // Pages that somebody holds just then stay.
    for _ in 0..100 {
        // Its readers are no sequence: none is read ahead.
        posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        if parts(path) == nothing {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    assert_eq!(parts(path), nothing, "nothing is in memory");
}

fn parts(path: &Path) -> Vec<bool> {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    held(file.as_fd(), length, PART).unwrap()
}

fn touch(path: &Path, at: u64) {
    let file = File::open(path).unwrap();
    posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM).unwrap();
    file.read_exact_at(&mut [0; 16], at).unwrap();
}

/// Whether it is so once: what was read just now may be out of memory when that is short.
fn once(mut is_so: impl FnMut() -> bool) -> bool {
    (0..5).any(|_| is_so())
}

#[test]
fn what_the_old_one_is_used_of_is_read_of_the_new_one() {
    assert!(once(used_is_read));
}

fn used_is_read() -> bool {
    let place = place();
    let (old, new) = (place.path().join("old"), place.path().join("new"));
    for (name, length) in [("usr/lib/libc.so", 40 * PART), ("bin/app", 3 * PART), ("share/manual", PART)] {
        cold(&old.join(name), length);
        cold(&new.join(name), length);
    }
    touch(&old.join("usr/lib/libc.so"), 30 * PART as u64);
    touch(&old.join("bin/app"), 0);
    let mut warming = Warming::new(old, &new, MOST).unwrap();
    while warming.turn() {}
    let libc = parts(&new.join("usr/lib/libc.so"));
    // The kernel may read some more around what is asked for.
    assert!(!libc[0], "{libc:?}");
    assert_eq!(parts(&new.join("share/manual")), [false]);
    libc[30] && parts(&new.join("bin/app"))[0]
}

#[test]
fn no_more_is_read_than_may_be() {
    assert!(once(enough_is_read));
}

fn enough_is_read() -> bool {
    let place = place();
    let (old, new) = (place.path().join("old"), place.path().join("new"));
    cold(&old.join("app"), 200 * PART);
    cold(&new.join("app"), 200 * PART);
    fs::read(old.join("app")).unwrap();
    let mut warming = Warming::new(old, &new, 8 * PART as u64).unwrap();
    while warming.turn() {}
    let there = parts(&new.join("app")).into_iter().filter(|there| *there).count();
    assert!(there < 100, "{there}");
    there >= 8
}

#[test]
fn what_the_new_one_has_otherwise_is_left_alone() {
    let place = place();
    let (old, new, outside) =
        (place.path().join("old"), place.path().join("new"), place.path().join("outside"));
    for name in ["lib/a", "b", "c/d", "gone"] {
        cold(&old.join(name), PART);
        touch(&old.join(name), 0);
    }
    cold(&outside.join("a"), PART);
    fs::create_dir_all(new.join("b")).unwrap();
    symlink(&outside, new.join("lib")).unwrap();
    symlink("../outside/a", new.join("c")).unwrap();
    let mut warming = Warming::new(old, &new, MOST).unwrap();
    while warming.turn() {}
    assert_eq!(parts(&outside.join("a")), [false], "no link leads out of the image");
}

#[test]
fn an_old_image_that_is_not_there_is_an_error() {
    let place = place();
    assert!(Warming::new(place.path().join("none"), place.path(), MOST).is_err());
}
