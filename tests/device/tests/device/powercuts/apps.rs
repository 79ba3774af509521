//! Disks with data as a cut may have left them while apps were updated: what a device would find there. The file system is put
//! right and read by code that is not ours, in user space; which packages count is read as `sandboxd` does.

use super::{Effort, Fault, Tally};
use device_test::writes::{Event, lay_out};
use sandboxd::packages::ledger::Package;
use sandboxd::packages::place;
use sandboxd::registry::Registry;
use sandboxd::superblock;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of a package.
const FILES: [&str; 3] = ["root.img", "root.verity", "manifest.toml"];

/// What has to be whole.
pub(crate) struct Packages {
    place: tempfile::TempDir,
    /// App, version, [`FILES`].
    packed: Vec<(&'static str, &'static str, [Vec<u8>; 3])>,
    /// Where an app keeps something, and what that is.
    kept: (&'static str, String),
}

impl Packages {
    /// Apps with their versions, and the directories that they were packed in; and a file that an app has written and synced
    /// before.
    pub(crate) fn of<const N: usize>(
        packed: [(&'static str, &'static str, PathBuf); N],
        kept: (&'static str, String),
    ) -> Self {
        let read = |directory: &Path| FILES.map(|file| fs::read(directory.join(file)).unwrap());
        let packed = packed.map(|(id, version, directory)| (id, version, read(&directory)));
        Self { place: tempfile::tempdir().unwrap(), packed: packed.into(), kept }
    }

    /// Old or new wherever the power goes; and without the flushes something else, which is found out. Of each update: the disk
    /// before, what was written, what may count at any time.
    pub(crate) fn cut_anywhere(&self, updates: &[(Vec<u8>, &[Event], &[&str])], most: usize) -> Tally {
        let (mut tally, mut broken) = (Tally::default(), Tally::default());
        for (before, events, allowed) in updates {
            let judge = |disk: &[u8]| self.judge(disk, allowed);
            tally.judge((before, events), Effort::at_most(most), |_| false, judge);
            let careless: Vec<Event> =
                events.iter().filter(|event| matches!(event, Event::Write(..))).cloned().collect();
            let few = Effort { rounds: 12, most: usize::MAX };
            broken.judge((before, &careless), few, |_| false, judge);
        }
        assert!(broken.has_faults(), "the same writes without a flush are found out: {broken}");
        tally.all_whole();
        tally
    }

    /// Which packages count on this disk, one of `allowed`: `ID VERSION` of each, or nothing.
    pub(crate) fn judge(&self, disk: &[u8], allowed: &[&str]) -> Result<String, Fault> {
        let installed = self.installed(disk).map_err(Fault::Brick)?;
        if allowed.contains(&&*installed) { Ok(installed) } else { Err(Fault::Mixed(installed)) }
    }

    fn installed(&self, disk: &[u8]) -> Result<String, String> {
        lay_out(disk, &self.disk()).map_err(|e| e.to_string())?;
        // As a device does before it mounts.
        let file = fs::File::options().read(true).write(true).open(self.disk());
        file.and_then(|file| superblock::mend(&file)).map_err(|e| e.to_string())?;
        self.repair()?;
        let data = self.place.path().join("data");
        let _ = fs::remove_dir_all(&data);
        fs::create_dir(&data).map_err(|e| e.to_string())?;
        self.debugfs(&format!("rdump /gabion {}", data.display()))?;
        Registry::load(&data.join("gabion/identity"), true).map_err(|e| e.to_string())?;
        let packages = place::Packages::open(&data).map_err(|e| e.to_string())?;
        let ledger = packages.ledger();
        let before = ledger.trial().into_iter().flat_map(|trial| &trial.before);
        let before = before.filter_map(|(id, package)| Some((id.as_str(), (*package)?)));
        for (id, package) in ledger.apps().chain(before) {
            self.whole(id, &package, &data)?;
        }
        self.has_kept()?;
        let all: Vec<_> = ledger.apps().map(|(id, package)| format!("{id} {}", package.version)).collect();
        Ok(all.join(", "))
    }

    fn whole(&self, id: &str, package: &Package, data: &Path) -> Result<(), String> {
        let version = package.version.to_string();
        let mut packed = self.packed.iter();
        let (.., files) = packed
            .find(|(of, number, _)| *of == id && *number == version)
            .ok_or_else(|| format!("{id} {version} was never installed"))?;
        let directory = data.join("gabion/packages").join(id).join(package.number.to_string());
        for (name, content) in FILES.iter().zip(files) {
            let there = fs::read(directory.join(name)).map_err(|e| format!("{id} {version}: {name}: {e}"))?;
            if there.trim_ascii_end() != content.trim_ascii_end() {
                return Err(format!("{name} of {id} {version} is torn"));
            }
        }
        Ok(())
    }

    fn has_kept(&self) -> Result<(), String> {
        let (path, content) = &self.kept;
        let to = self.place.path().join("kept");
        let _ = fs::remove_file(&to);
        self.debugfs(&format!("dump {path} {}", to.display()))?;
        let there = fs::read(&to).map_err(|e| format!("the app's data is gone: {e}"))?;
        if there == content.as_bytes() { Ok(()) } else { Err("the app's data is torn".to_owned()) }
    }

    fn disk(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    /// The journal is replayed, as the kernel does; nothing may be wrong beyond what that leaves.
    fn repair(&self) -> Result<(), String> {
        let done = Command::new("e2fsck").arg("-fp").arg(self.disk()).output().map_err(|e| e.to_string())?;
        match done.status.code() {
            Some(0 | 1) => Ok(()),
            _ => Err(format!("the file system is torn: {}", String::from_utf8_lossy(&done.stdout))),
        }
    }

    fn debugfs(&self, request: &str) -> Result<(), String> {
        let mut command = Command::new("debugfs");
        command.arg("-R").arg(request).arg(self.disk()).output().map(drop).map_err(|e| e.to_string())
    }
}
