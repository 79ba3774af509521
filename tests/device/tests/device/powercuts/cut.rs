//! All disks that a cut may have left of one update, to be booted from by their numbers.

use super::{Effort, Fault, Tally};
use crate::slots::PASS;
use device_test::writes::{Event, cuts, lay_out};
use device_test::{Device, Off};
use std::collections::BTreeMap;
use std::path::Path;

/// Disks that are booted, of each update of apps.
pub(super) const APPS_BOOTED: usize = 6;
/// Of the system's.
pub(super) const SYSTEM_BOOTED: usize = 20;
/// Cuts that follow each other.
pub(super) const IN_A_ROW: usize = 3;
/// Looked at, of a boot.
pub(super) const OF_A_BOOT: Effort = Effort { rounds: 4, most: 200 };
/// What was written, all disks that a cut may have left, and what each has that was looked at.
pub(super) struct Cut<'a> {
    before: &'a [u8],
    events: &'a [Event],
    effort: Effort,
    matters: &'a dyn Fn(usize) -> bool,
    found: Vec<Option<String>>,
}

impl<'a> Cut<'a> {
    pub(super) fn judged(
        tally: &mut Tally,
        (before, events): (&'a [u8], &'a [Event]),
        effort: Effort,
        matters: &'a dyn Fn(usize) -> bool,
        judge: impl FnMut(&[u8]) -> Result<String, Fault>,
    ) -> Self {
        let found = tally.judge((before, events), effort, matters, judge);
        println!("{tally}");
        Self { before, events, effort, matters, found }
    }

    /// Some of them by their numbers, evenly, as many with each version.
    pub(super) fn sample(&self, most: usize) -> Vec<(usize, &str)> {
        let mut versions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, version) in self.found.iter().enumerate() {
            if let Some(version) = version {
                versions.entry(version).or_default().push(number);
            }
        }
        let each = Effort { rounds: 1, most: most / versions.len().max(1) };
        let mut chosen = Vec::new();
        for (version, numbers) in versions {
            let some = numbers.iter().enumerate().filter(|(index, _)| each.takes(*index, numbers.len()));
            chosen.extend(some.map(|(_, number)| (*number, version)));
        }
        chosen
    }

    /// One of those with this version, so many parts of a hundred behind the first.
    pub(super) fn with(&self, version: Option<&str>, percent: usize) -> Vec<u8> {
        let fits =
            |found: &Option<String>| found.is_some() && (version.is_none() || found.as_deref() == version);
        let all: Vec<usize> = (0..self.found.len()).filter(|number| fits(&self.found[*number])).collect();
        self.disk(all[(all.len() - 1) * percent / 100])
    }

    pub(super) fn disk(&self, number: usize) -> Vec<u8> {
        let (mut at, mut found) = (0, Vec::new());
        cuts(self.before, self.events, self.effort.rounds, self.matters, |disk| {
            if at == number {
                found = disk.to_vec();
            }
            at += 1;
        });
        found
    }
}

/// Switches a device on, with these disks.
pub(super) fn boot(off: Off, disks: &[(&Path, &[u8])]) -> Device {
    disks.iter().for_each(|(path, disk)| lay_out(disk, path).unwrap());
    off.boot().unwrap()
}

/// It says all of it.
pub(super) fn says(device: &Device, lines: &[String]) -> Result<(), Fault> {
    let missing = lines.iter().find(|line| device.console().wait(0, line, PASS).is_err());
    missing.map_or(Ok(()), |line| Err(Fault::Brick(format!("a device that was booted does not say: {line}"))))
}
