//! What the daemon keeps on its own storage, in one file: written beside it, brought to the disk, moved there.
//!
//! It lies on the device's own disk, so whoever could change it could change more. What is not understood, as a newer version of
//! us may have written it, is as if it were not there: what is being fetched is begun anew. Which version of the metadata was
//! seen, and what the device does not go back behind, is not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use service_api::Text;
use service_api::updates::{OUTCOMES_MAX, Outcome, Stage};

use crate::orders::Orders;
use crate::trial::Needs;

/// Its name.
const NAME: &str = "state.json";
/// Longest, bytes: more than all that is bounded in it.
const SIZE_MAX: u64 = 512 << 10;
/// Releases that did not last, and updates that the device learnt of, that are remembered.
const MOST: usize = 256;
/// How often a system is tried again that did not last because the service was not reached, and how much later, seconds.
const LATER_TIMES: u32 = 3;
const LATER_S: u64 = 6 * 3600;
const LATER_FORGOTTEN_S: u64 = 30 * 86_400;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// What the service has not acknowledged yet, the oldest first.
    pub outcomes: Vec<Outcome>,
    /// Releases that did not last, by their paths, and why.
    pub failed: BTreeMap<String, String>,
    /// Releases that are not tried before then.
    pub later: BTreeMap<String, Later>,
    /// When the device learnt of a release, and until when somebody put it off.
    pub learnt: BTreeMap<String, Learnt>,
    /// How far images are, by the path of their release and their place in it.
    pub images: BTreeMap<String, Progress>,
    /// A system that was armed.
    pub armed: Option<Armed>,
    /// Apps that were to be installed, and are on trial, by the paths of their releases.
    pub on_trial: Vec<String>,
    /// sandboxd has said that they were.
    pub switched: bool,
    /// Operators' orders.
    pub orders: Orders,
}

/// Until when a release waits that did not last for no fault of its own that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// Seconds since 1970.
    pub at_s: u64,
    /// How often it did.
    pub times: u32,
}

/// When the device learnt of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learnt {
    /// Seconds since 1970.
    pub at_s: u64,
    /// Until when it is put off.
    #[serde(default)]
    pub until_s: Option<u64>,
    /// When it was ready.
    #[serde(default)]
    pub ready_s: Option<u64>,
    /// How often it was armed.
    #[serde(default)]
    pub armed: u32,
}

/// How far an image is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The digest of the index by which it is made, hex: what was done is of no use with another one.
    pub index: String,
    /// Segments that are written.
    pub done: u32,
    /// Bytes that were fetched.
    pub fetched: u64,
}

/// A system that was armed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// The path of its release.
    pub release: String,
    /// Its version.
    pub version: String,
    /// Apps that ran.
    pub apps: Vec<String>,
    /// The service was reached.
    pub service: bool,
    /// It is given up for that the service is not.
    #[serde(default)]
    pub unreached: bool,
}

impl Armed {
    /// What it takes for the system to be well.
    pub fn needs(&self) -> Needs {
        Needs { apps: self.apps.clone(), service: self.service }
    }
}

impl Kept {
    /// Takes note of how far a release is, to be told.
    pub fn note(&mut self, release: &str, stage: Stage, reason: &str, at_s: u64) {
        let prefix = format!("{release}#");
        let of = self.images.iter().filter(|(name, _)| name.starts_with(&prefix));
        let fetched = of.map(|(_, progress)| progress.fetched).sum();
        let outcome =
            Outcome { release: Text::shown(release), stage, reason: Text::shown(reason), at_s, fetched };
        // What is told once more says the newest of it.
        self.outcomes.retain(|other| (&other.release, other.stage) != (&outcome.release, outcome.stage));
        if self.outcomes.len() >= OUTCOMES_MAX {
            self.outcomes.remove(0);
        }
        self.outcomes.push(outcome);
    }

    /// Those that were told need not be told again.
    pub fn told(&mut self, told: &[Outcome]) {
        self.outcomes.retain(|outcome| !told.contains(outcome));
    }

    /// A release did not last.
    pub fn fail(&mut self, release: &str, why: &str) {
        if self.failed.len() >= MOST {
            self.failed.pop_first();
        }
        self.failed.insert(release.to_owned(), why.to_owned());
    }

    /// A release did not last because the service was not reached: it is tried again later, and some day no more. Whether it is.
    pub fn put_off(&mut self, release: &str, now_s: u64) -> bool {
        self.later.retain(|_, later| later.at_s + LATER_FORGOTTEN_S > now_s);
        let times = self.later.get(release).map_or(0, |later| later.times) + 1;
        if times > LATER_TIMES || self.later.len() >= MOST {
            self.later.remove(release);
            return false;
        }
        self.later.insert(release.to_owned(), Later { at_s: now_s + LATER_S, times });
        true
    }

    /// Whether a release is not wanted, at least for now.
    pub fn is_out(&self, release: &str, now_s: u64) -> bool {
        self.failed.contains_key(release) || self.later.get(release).is_some_and(|later| later.at_s > now_s)
    }

    /// Everything is tried once more.
    pub fn forgive(&mut self) {
        self.failed.clear();
        self.later.clear();
    }

    /// The device learns of these releases.
    pub fn learn(&mut self, releases: &BTreeSet<&str>, now_s: u64) {
        for path in releases.iter().take(MOST) {
            let first = Learnt { at_s: now_s, until_s: None, ready_s: None, armed: 0 };
            self.learnt.entry((*path).to_owned()).or_insert(first);
        }
        let others = self.learnt.iter().filter(|(path, _)| !releases.contains(path.as_str()));
        let mut others: Vec<(u64, String)> =
            others.map(|(path, learnt)| (learnt.at_s, path.clone())).collect();
        others.sort();
        for (_, oldest) in others.iter().take(self.learnt.len().saturating_sub(MOST)) {
            self.learnt.remove(oldest);
            self.unmade(oldest);
        }
    }

    /// Whether it knows of others than these.
    pub fn has_others(&self, releases: &BTreeSet<&str>) -> bool {
        self.learnt.keys().any(|path| !stays(path, releases, &self.later))
    }

    /// Forgets what it knew of all but these.
    pub fn forget_others(&mut self, releases: &BTreeSet<&str>) {
        self.learnt.retain(|path, _| stays(path, releases, &self.later));
        self.images.retain(|name, _| release_of(name).is_some_and(|path| releases.contains(path)));
    }

    /// Forgets how far the images of other systems are than this one, which is made where they were.
    pub fn made_in_its_place(&mut self, system: &str) {
        self.images.retain(|name, _| !name.starts_with("os/") || release_of(name) == Some(system));
    }

    /// Forgets how far the images of a release are.
    pub fn unmade(&mut self, release: &str) {
        self.images.retain(|name, _| release_of(name) != Some(release));
    }
}

/// The release that an image is of, by the image's name.
fn release_of(name: &str) -> Option<&str> {
    name.split_once('#').map(|(path, _)| path)
}

/// Whether a release is not forgotten among these: what is tried again later was learnt of when it was.
fn stays(path: &str, releases: &BTreeSet<&str>, later: &BTreeMap<String, Later>) -> bool {
    releases.contains(path) || later.contains_key(path)
}

/// Where it is kept.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// This folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where a file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What was kept.
    pub fn load(&self) -> Kept {
        self.read(NAME, SIZE_MAX).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Keeps it; it is on the disk when this comes back.
    ///
    /// # Errors
    /// The disk. What was kept before still is.
    pub fn store(&self, kept: &Kept) -> io::Result<()> {
        self.write(NAME, &serde_json::to_vec(kept).map_err(io::Error::other)?)
    }

    /// A file of at most so many bytes.
    pub fn read(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(name)).ok()?.take(most + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= most).then_some(bytes)
    }

    /// Keeps a file.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.path(&format!("{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&new, self.path(name))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes files that are not wanted, by their names.
    pub fn retain(&self, is_wanted: impl Fn(&str) -> bool) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| !is_wanted(name)) {
                // What stays is looked at again the next time.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kept_comes_back_and_what_is_not_understood_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().to_owned());
        let mut kept = Kept::default();
        kept.note("os/box/2.json", Stage::Fetching, "", 7);
        kept.fail("os/box/1.json", "it crashed");
        kept.learn(&BTreeSet::from(["os/box/2.json"]), 7);
        disk.store(&kept).unwrap();
        assert_eq!(disk.load(), kept);
        fs::write(disk.path(NAME), b"{\"outcomes\":7}").unwrap();
        assert_eq!(disk.load(), Kept::default());
        fs::write(disk.path(NAME), b"{\"of tomorrow\":7}").unwrap();
        assert_eq!(disk.load(), Kept::default());
    }

    #[test]
    fn release_that_is_learnt_of_again_was_learnt_of_when_it_first_was() {
        let mut kept = Kept::default();
        kept.learn(&BTreeSet::from(["a", "b"]), 7);
        kept.forget_others(&BTreeSet::from(["b"]));
        kept.learn(&BTreeSet::from(["a", "b"]), 11);
        assert_eq!((kept.learnt["a"].at_s, kept.learnt["b"].at_s), (11, 7));
        let many: Vec<String> = (1..MOST).map(|n| n.to_string()).collect();
        kept.learn(&many.iter().map(String::as_str).collect(), 12);
        // The one that it learnt of first of those that are not among these.
        assert!(kept.learnt.len() == MOST && kept.learnt.contains_key("a") && !kept.learnt.contains_key("b"));
    }

    #[test]
    fn release_that_did_not_reach_the_service_is_out_for_hours_and_not_a_fourth_time() {
        let mut kept = Kept::default();
        for (times, now_s) in [(1, 0), (2, LATER_S), (3, 2 * LATER_S)] {
            assert!(kept.put_off("a", now_s), "{times}");
            assert!(kept.is_out("a", now_s + LATER_S - 1) && !kept.is_out("a", now_s + LATER_S));
        }
        assert!(!kept.put_off("a", 3 * LATER_S));
    }

    proptest! {
        #[test]
        fn outcomes_of_any_history_are_bounded_and_the_newest_is_there(
            notes in proptest::collection::vec((0_u8..200, 0_u8..4), 1..600)
        ) {
            let mut kept = Kept::default();
            for (at, (release, stage)) in notes.iter().enumerate() {
                let stages = [Stage::Fetching, Stage::Pending, Stage::Failed, Stage::Complete];
                kept.note(&format!("os/box/{release}.json"), stages[usize::from(*stage)], "", at as u64);
                prop_assert!(kept.outcomes.len() <= OUTCOMES_MAX);
            }
            prop_assert_eq!(kept.outcomes.last().unwrap().at_s, notes.len() as u64 - 1);
            let told = kept.outcomes.clone();
            kept.note("os/box/0.json", Stage::Complete, "later", 1_000_000);
            kept.told(&told);
            prop_assert_eq!(kept.outcomes.len(), 1);
        }
    }
}
