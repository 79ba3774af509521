//! Ten thousand damaged images (attack B2): the checker says no, or what it let through is harmless for somebody else's
//! reader too. Each is made from its number, so one that fails can be made again.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod made;

use made::verdict;
use nix::time::{ClockId, clock_gettime};
use package::erofs::Refusal;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const MUTANTS: u64 = 10_000;
/// Of the processor's time, however busy it is; a good one takes a millisecond.
const LONGEST: Duration = Duration::from_secs(2);
/// Accepted ones that `fsck.erofs` extracts; each takes some milliseconds.
const EXTRACTED: u32 = 60;

#[test]
fn mutants_are_refused_or_harmless() {
    let originals = originals();
    let mut refusals: BTreeMap<String, u32> = BTreeMap::new();
    let (mut accepted, mut changed) = (0, 0);
    for number in 0..MUTANTS {
        let original = &originals[(number % originals.len() as u64) as usize];
        let mutant = made::mutant::mutant(original, number);
        let began = worked();
        let verdict = verdict(&mutant);
        let took = worked() - began;
        assert!(took < LONGEST, "mutant {number} takes {took:?}");
        match verdict {
            Err(refusal) => {
                let kind = match refusal {
                    Refusal::Entry(problem) => problem.wrong.to_string(),
                    Refusal::Layout(what, _) => what.to_owned(),
                    Refusal::Unreadable => refusal.to_string(),
                };
                *refusals.entry(kind).or_default() += 1;
            }
            Ok(contents) => {
                accepted += 1;
                changed += u32::from(mutant != *original);
                if accepted <= EXTRACTED {
                    assert!(contents.entries < 200 && contents.bytes < 10 << 20, "mutant {number}");
                    harmless(&mutant, number);
                }
            }
        }
    }
    println!("accepted {accepted}, of these {changed} are not the original; refused: {refusals:#?}");
    // A checker that refuses everything, or nothing, would pass otherwise.
    assert!(changed > 0 && accepted < 5_000, "{accepted} accepted");
    assert!(refusals.len() > 20, "{refusals:?}");
}

/// How long this thread had a processor.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// What the mutants are made of: each of the layouts that are taken, and not so much data that it hides them.
fn originals() -> Vec<Vec<u8>> {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::write(at("a/text"), "a line of text\n".repeat(900)).unwrap();
    fs::write(at("a/short"), "short\n").unwrap();
    fs::write(at("a/b/zeros"), vec![0; 30_000]).unwrap();
    fs::write(at("a/b/plain"), (0..9000_u32).map(|n| ((n * n) >> 3) as u8).collect::<Vec<_>>()).unwrap();
    fs::hard_link(at("a/short"), at("a/b/same")).unwrap();
    symlink("../text", at("a/b/link")).unwrap();
    fs::write(at("program"), made::program()).unwrap();
    for number in 0..70 {
        fs::write(at(&format!("a/b/c/{}-{number}", "long-name-".repeat(5))), "").unwrap();
    }
    let options = [&["-zlz4hc,12"][..], &["-zlz4hc,12", "-Elegacy-compress"], &["-Eforce-inode-extended"]];
    options.iter().map(|more| made::format(tree.path(), &[*more, &["-x-1"]].concat())).collect()
}

/// erofs-utils' own reader extracts it, and there is nothing but directories, files and links.
fn harmless(image: &[u8], number: u64) {
    let place = tempfile::tempdir().unwrap();
    let (file, out) = (place.path().join("it.img"), place.path().join("out"));
    fs::write(&file, image).unwrap();
    let extracted = Command::new("fsck.erofs")
        .arg(format!("--extract={}", out.display()))
        .arg("--preserve-perms")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("fsck.erofs of Debian's erofs-utils");
    assert!(extracted.success(), "fsck.erofs does not take mutant {number}");
    plain(&out, number);
}

fn plain(directory: &Path, number: u64) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        let kind = about.file_type();
        assert!(kind.is_dir() || kind.is_file() || kind.is_symlink(), "mutant {number}: {}", path.display());
        assert!(!kind.is_block_device() && !kind.is_char_device());
        if !kind.is_symlink() {
            assert_eq!(about.permissions().mode() & 0o6000, 0, "mutant {number}: {}", path.display());
        }
        if kind.is_dir() {
            plain(&path, number);
        }
    }
}
