//! Two images as `mkfs.erofs` and `veritysetup` make them for us, which differ by one program; and payloads of them.

#![expect(clippy::unwrap_used, reason = "what can not be made fails the test")]

use delta::make::{self, Payload};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

const UUID: &str = "67616269-6f6e-4000-8000-726f6f740000";
const SALT: &str = "676162696f6e0000000000000000000000000000000000000000000000000000";

pub(crate) struct Pair {
    pub(crate) old: Vec<u8>,
    pub(crate) new: Vec<u8>,
}

impl Pair {
    pub(crate) fn patch(&self) -> &'static Payload {
        static PATCH: OnceLock<Payload> = OnceLock::new();
        PATCH.get_or_init(|| make::patch(&self.old, &self.new, &mut |_, _, _| ()).unwrap())
    }

    pub(crate) fn full(&self) -> &'static Payload {
        static FULL: OnceLock<Payload> = OnceLock::new();
        FULL.get_or_init(|| make::full(&self.new, &mut |_, _, _| ()).unwrap())
    }

    /// Writes what was given out, which has to be what the new image has there.
    pub(crate) fn write(&self, slot: &mut [u8], at: u64, bytes: &[u8]) {
        let place = at as usize..at as usize + bytes.len();
        assert!(self.new.get(place.clone()) == Some(bytes), "other bytes than the new image's at {at}");
        slot[place].copy_from_slice(bytes);
    }
}

pub(crate) fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("gabion-delta-{}", std::process::id()));
        // Something that looks like programs: words of few kinds in no order, with places named in them.
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut program: Vec<u8> = Vec::new();
        while program.len() < 500_000 {
            let word = next() % 3000;
            program.extend_from_slice(&(word * word * 2_654_435_761).to_le_bytes()[..5]);
            if word % 7 == 0 {
                program.extend_from_slice(&(next() as u32).to_le_bytes());
            }
        }
        let other: Vec<u8> = program.iter().rev().map(|byte| byte ^ 0x5a).collect();
        let mut changed = program.clone();
        changed.splice(300_000..300_004, *b"a longer text than there was");
        for at in (10_000..450_000).step_by(20_011) {
            changed[at] = changed[at].wrapping_add(28);
        }
        let image = |name: &str, program: &[u8]| {
            let root = folder.join(name);
            std::fs::create_dir_all(root.join("bin")).unwrap();
            std::fs::write(root.join("bin/program"), program).unwrap();
            std::fs::write(root.join("other"), &other).unwrap();
            std::fs::write(root.join("short"), "a file that is in its inode").unwrap();
            format(&root, &folder.join(format!("{name}.img")))
        };
        let pair = Pair { old: image("old", &program), new: image("new", &changed) };
        std::fs::remove_dir_all(&folder).unwrap();
        pair
    })
}

fn format(root: &Path, image: &Path) -> Vec<u8> {
    let options = ["--quiet", "-zlz4hc,12", "-T0", "-x-1", "--all-root", "-C262144", "-U", UUID];
    run(Command::new("mkfs.erofs").args(options).arg(image).arg(root));
    let blocks = std::fs::metadata(image).unwrap().len() / 4096;
    run(Command::new("veritysetup")
        .args(["format", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096"])
        .args([format!("--salt={SALT}"), format!("--uuid={UUID}"), format!("--data-blocks={blocks}")])
        .arg(format!("--hash-offset={}", blocks * 4096))
        .args([image, image]));
    std::fs::read(image).unwrap()
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
