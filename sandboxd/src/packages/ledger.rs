//! The ledger of installed packages: which package of which app counts, what is on trial and what it would go back to.
//!
//! Pure. Each change gives a ledger that replaces the one before in one write, so that what an installation does is done
//! to all of its apps or to none.
//!
//! ```text
//! switched ──▶ on trial ──kept──▶ good            the packages before are named no more
//!                 │ ▲ └────back──▶ as before      and why
//!                 └─┘ begun_again: the device or sandboxd went down meanwhile; three times at most
//! ```
//!
//! The text lies on a writable disk that may have been cut short or edited. Whatever does not check out in full is refused
//! and nothing is started from it or removed for it: an operator decides, and until then there are the image's own apps.
//!
//! ```text
//! gabion-packages 1
//! next 12
//! app com.example.display 1.4.0 11
//! app com.example.thermostat 2.0.1 7
//! developer com.example.display - 1.3.9 9    the one above is a developer's: whose, and what lies beneath it, or -
//! gone com.example.old                       removed; its data is still to be erased
//! left com.example.old 3.0.0                 removed: nothing below this comes back
//! trial 60 1                                 seconds; how often it was begun
//! before com.example.display 1.3.9 9         or: before com.example.display -
//! outcome good                               of the last trial; or: outcome back WHY
//! sum 9c0f3f6d8f3f1a22
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::SplitWhitespace;

use policy::{AppId, Version};

use crate::store::APPS_MAX;
use crate::summed;

/// No ledger is longer, bytes.
pub const MAX_BYTES: u64 = 256 << 10;
/// Apps that are installed at once.
pub const TOGETHER_MAX: usize = bus::update_link::TOGETHER_MAX;
/// Longest trial, seconds.
pub const TRIAL_MAX_S: u32 = 24 * 60 * 60;
/// How often a trial is begun, with the first time. A device that goes down in each of them may do so because of what is
/// on trial.
pub const TRIES_MAX: u32 = 3;
/// Apps that were removed and did not come back, at most.
const LEFT_MAX: usize = 1000;
/// Longest text of why something went back, bytes.
pub const WHY_MAX: usize = 300;
const HEADER: &str = "gabion-packages 1";

/// A package that counts, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// The name of its directory. Never used twice.
    pub number: u64,
    /// Its version.
    pub version: Version,
}

/// What was installed together last, and has yet to show that it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// How long each has to run.
    pub seconds: u32,
    /// How often it was begun.
    pub tries: u32,
    /// Its apps, and what each goes back to: a package, or the image's own app or none.
    pub before: BTreeMap<String, Option<Package>>,
}

/// What a developer has installed. It counts until it is removed; then what lies beneath it does again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Developed {
    /// Whose key signed it, SHA-256 of the certificate in lower-case hex; `None` where nobody was asked.
    pub who: Option<String>,
    /// The package that lies beneath it; `None` for the image's own app or none.
    pub beneath: Option<Package>,
}

/// How the last trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What was installed stays.
    Good,
    /// All of it went back, and why.
    Back(String),
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    next: u64,
    current: BTreeMap<String, Package>,
    developed: BTreeMap<String, Developed>,
    gone: BTreeSet<String>,
    left: BTreeMap<String, Version>,
    trial: Option<Trial>,
    outcome: Option<Outcome>,
}

impl Ledger {
    /// The package of the app `id` that counts.
    pub fn package(&self, id: &str) -> Option<Package> {
        self.current.get(id).copied()
    }

    /// Apps of which a package counts.
    pub fn apps(&self) -> impl Iterator<Item = (&str, Package)> {
        self.current.iter().map(|(id, package)| (id.as_str(), *package))
    }

    /// Apps whose package that counts is a developer's.
    pub fn developed(&self) -> impl Iterator<Item = (&str, &Developed)> {
        self.developed.iter().map(|(id, developed)| (id.as_str(), developed))
    }

    /// Whether the package of the app `id` that counts is a developer's.
    pub fn is_developed(&self, id: &str) -> bool {
        self.developed.contains_key(id)
    }

    /// Apps that were removed and whose data is still to be erased.
    pub fn gone(&self) -> impl Iterator<Item = &str> {
        self.gone.iter().map(String::as_str)
    }

    /// The version that the app `id` had when it was removed.
    pub fn left(&self, id: &str) -> Option<Version> {
        self.left.get(id).copied()
    }

    /// What is on trial.
    pub fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// How the last trial ended, unless there is one now.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The number that the next package gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether the directory `number` of the app `id` has to stay: it counts, or is what a trial goes back to.
    pub fn names(&self, id: &str, number: u64) -> bool {
        let before = self.trial.iter().filter_map(|trial| trial.before.get(id)?.as_ref());
        let beneath = self.developed.get(id).and_then(|developed| developed.beneath.as_ref());
        let all = self.current.get(id).into_iter().chain(before).chain(beneath);
        all.into_iter().any(|package| package.number == number)
    }

    /// With a developer's package of the app `id`, which gets the number [`next`](Self::next), above what was there before. `None`
    /// while that is on trial, and for more than there can be.
    pub fn with_developed(&self, id: &str, version: Version, who: Option<String>) -> Option<Self> {
        let mut after = self.clone();
        let package = Package { number: after.next, version };
        after.next = after.next.checked_add(1)?;
        let was = after.current.insert(id.to_owned(), package);
        let beneath = match after.developed.get(id) {
            Some(developed) => developed.beneath,
            None => was,
        };
        after.developed.insert(id.to_owned(), Developed { who, beneath });
        after.gone.remove(id);
        let on_trial = self.trial.as_ref().is_some_and(|trial| trial.before.contains_key(id));
        (!on_trial && after.fault().is_none()).then_some(after)
    }

    /// Without what a developer has installed of the app `id`. `None` when that is nothing.
    pub fn without_developed(&self, id: &str) -> Option<Self> {
        let mut after = self.clone();
        match after.developed.remove(id)?.beneath {
            Some(package) => after.current.insert(id.to_owned(), package),
            None => after.current.remove(id),
        };
        Some(after)
    }

    /// With these packages, which get the numbers from [`next`](Self::next) on, installed together and on trial. `None`
    /// while there is a trial, and for more than there can be.
    pub fn switched(&self, packages: &[(&str, Version)], seconds: u32) -> Option<Self> {
        let mut after = self.clone();
        let mut before = BTreeMap::new();
        for (id, version) in packages {
            if self.is_developed(id) {
                return None;
            }
            let package = Package { number: after.next, version: *version };
            after.next = after.next.checked_add(1)?;
            let was = after.current.insert((*id).to_owned(), package);
            if before.insert((*id).to_owned(), was).is_some() {
                return None;
            }
            after.gone.remove(*id);
        }
        after.trial = Some(Trial { seconds, tries: 1, before });
        after.outcome = None;
        (self.trial.is_none() && after.fault().is_none()).then_some(after)
    }

    /// The trial begins again: the device or sandboxd went down meanwhile. `None` when it did so too often.
    pub fn begun_again(&self) -> Option<Self> {
        let mut after = self.clone();
        let trial = after.trial.as_mut()?;
        trial.tries += 1;
        (trial.tries <= TRIES_MAX).then_some(after)
    }

    /// What was on trial is good.
    pub fn kept(&self) -> Self {
        let mut left = self.left.clone();
        left.retain(|id, _| !self.current.contains_key(id) || self.is_developed(id));
        Self { trial: None, outcome: Some(Outcome::Good), left, ..self.clone() }
    }

    /// All of what was on trial goes back, and why.
    pub fn back(&self, why: &str) -> Self {
        let mut after = self.clone();
        for (id, before) in after.trial.take().into_iter().flat_map(|trial| trial.before) {
            match before {
                Some(package) => after.current.insert(id, package),
                None => after.current.remove(&id),
            };
        }
        after.outcome = Some(Outcome::Back(plain(why)));
        after
    }

    /// Nobody has to be told any more how the last trial ended. `None` when that is so already.
    pub fn heard(&self) -> Option<Self> {
        self.outcome.is_some().then(|| Self { outcome: None, ..self.clone() })
    }

    /// Without the app `id`, whose data is to be erased. `None` for one that has no package, a developer's, or one on trial.
    pub fn removed(&self, id: &str) -> Option<Self> {
        let mut after = self.clone();
        let package = after.current.remove(id).filter(|_| !self.is_developed(id))?;
        after.gone.insert(id.to_owned());
        after.left.insert(id.to_owned(), package.version);
        let on_trial = self.trial.as_ref().is_some_and(|trial| trial.before.contains_key(id));
        (!on_trial && after.fault().is_none()).then_some(after)
    }

    /// The data of the app `id` is erased.
    pub fn erased(&self, id: &str) -> Self {
        let mut after = self.clone();
        after.gone.remove(id);
        after
    }

    /// Checks a whole text. The error is what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = summed::body(text)?.lines();
        if lines.next() != Some(HEADER) {
            return Err("line 1: not a ledger of this version".to_owned());
        }
        let mut ledger = Self::default();
        for (line, number) in lines.zip(2..) {
            ledger.line(line).ok_or_else(|| format!("line {number}: no entry"))?;
        }
        if let Some(fault) = ledger.fault() {
            return Err(fault.to_owned());
        }
        if ledger.to_string() != text {
            return Err("it is not as it is written here".to_owned());
        }
        Ok(ledger)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        match words.next()? {
            "next" => self.next = words.next()?.parse().ok()?,
            "app" => {
                let id = id(words.next()?)?;
                self.current.insert(id, package(words)?);
            }
            "developer" => {
                let id = id(words.next()?)?;
                let who = whose(words.next()?)?;
                let beneath = if line.ends_with(" -") { None } else { Some(package(words)?) };
                self.developed.insert(id, Developed { who, beneath });
            }
            "gone" => {
                self.gone.insert(id(words.next()?)?);
            }
            "left" => {
                let id = id(words.next()?)?;
                self.left.insert(id, words.next()?.parse().ok()?);
            }
            "trial" => {
                let (seconds, tries) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                self.trial = Some(Trial { seconds, tries, before: BTreeMap::new() });
            }
            "before" => {
                let id = id(words.next()?)?;
                let before = if line.ends_with(" -") { None } else { Some(package(words)?) };
                self.trial.as_mut()?.before.insert(id, before);
            }
            "outcome" if line == "outcome good" => self.outcome = Some(Outcome::Good),
            "outcome" => {
                self.outcome = Some(Outcome::Back(line.strip_prefix("outcome back ")?.to_owned()));
            }
            _ => return None,
        }
        Some(())
    }

    /// What can not be, however it came about.
    fn fault(&self) -> Option<&'static str> {
        let before = self.trial.iter().flat_map(|trial| trial.before.values().flatten());
        let beneath = self.developed.values().filter_map(|developed| developed.beneath.as_ref());
        let all = self.current.values().chain(before).chain(beneath);
        let numbers: Vec<u64> = all.map(|package| package.number).collect();
        if numbers.iter().any(|number| *number >= self.next) {
            return Some("a package has a number that was never given");
        }
        if numbers.iter().collect::<BTreeSet<_>>().len() != numbers.len() {
            return Some("two packages have one number");
        }
        if self.current.len() > APPS_MAX || self.gone.len() > APPS_MAX {
            return Some("more apps than a device has");
        }
        if self.left.len() > LEFT_MAX {
            return Some("more removed apps than are remembered");
        }
        if self.gone.iter().any(|id| self.current.contains_key(id)) {
            return Some("an app is both installed and removed");
        }
        if self.developed.keys().any(|id| !self.current.contains_key(id)) {
            return Some("a developer's app that is not there");
        }
        if let Some(Outcome::Back(why)) = &self.outcome
            && plain(why) != *why
        {
            return Some("a text that could not be shown");
        }
        let trial = self.trial.as_ref()?;
        if !(1..=TOGETHER_MAX).contains(&trial.before.len())
            || trial.before.keys().any(|id| !self.current.contains_key(id))
        {
            return Some("a trial of apps that are not there");
        }
        if trial.before.keys().any(|id| self.is_developed(id)) {
            return Some("a trial of a developer's app");
        }
        if !(1..=TRIAL_MAX_S).contains(&trial.seconds) || !(1..=TRIES_MAX).contains(&trial.tries) {
            return Some("a trial that takes too long");
        }
        self.outcome.is_some().then_some("a trial that ended and goes on")
    }
}

fn id(word: &str) -> Option<String> {
    word.parse::<AppId>().ok().map(|id| id.to_string())
}

/// The SHA-256 of a certificate, or nobody.
fn whose(word: &str) -> Option<Option<String>> {
    let digits = word.len() == 64 && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match word {
        "-" => Some(None),
        word => digits.then(|| Some(word.to_owned())),
    }
}

fn package(mut words: SplitWhitespace<'_>) -> Option<Package> {
    let version = words.next()?.parse().ok()?;
    Some(Package { version, number: words.next()?.parse().ok()? })
}

/// One line of text that can be shown and is not too long.
fn plain(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if matches!(c, ' '..='~') && c != '\\' { c } else { '?' }).collect();
    let text = text.get(..WHY_MAX).unwrap_or(&text).trim();
    if text.is_empty() { "no reason was given".to_owned() } else { text.to_owned() }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = format!("{HEADER}\nnext {}\n", self.next);
        for (id, Package { version, number }) in &self.current {
            body.push_str(&format!("app {id} {version} {number}\n"));
        }
        for (id, Developed { who, beneath }) in &self.developed {
            let who = who.as_deref().unwrap_or("-");
            body.push_str(&match beneath {
                Some(Package { version, number }) => format!("developer {id} {who} {version} {number}\n"),
                None => format!("developer {id} {who} -\n"),
            });
        }
        for id in &self.gone {
            body.push_str(&format!("gone {id}\n"));
        }
        for (id, version) in &self.left {
            body.push_str(&format!("left {id} {version}\n"));
        }
        if let Some(Trial { seconds, tries, before }) = &self.trial {
            body.push_str(&format!("trial {seconds} {tries}\n"));
            for (id, before) in before {
                body.push_str(&match before {
                    Some(Package { version, number }) => format!("before {id} {version} {number}\n"),
                    None => format!("before {id} -\n"),
                });
            }
        }
        match &self.outcome {
            Some(Outcome::Good) => body.push_str("outcome good\n"),
            Some(Outcome::Back(why)) => body.push_str(&format!("outcome back {why}\n")),
            None => {}
        }
        f.write_str(&summed::with_sum(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summed::with_sum;
    use proptest::prelude::*;

    const A: &str = "com.example.a";
    const B: &str = "com.example.b";

    fn version(patch: u32) -> Version {
        Version { major: 1, minor: 0, patch }
    }

    fn read(ledger: &Ledger) -> Ledger {
        Ledger::parse(&ledger.to_string()).unwrap()
    }

    #[test]
    fn ledger_switched_goes_back_in_whole_or_is_kept() {
        let first = Ledger::default().switched(&[(A, version(1))], 60).unwrap().kept();
        let second = read(&first.switched(&[(A, version(2)), (B, version(1))], 60).unwrap());
        assert_eq!((second.package(A).unwrap().number, second.package(B).unwrap().number), (1, 2));
        assert!(second.names(A, 0) && second.names(A, 1) && !second.names(B, 0));
        assert!(second.switched(&[(A, version(3))], 60).is_none(), "one trial at a time");
        let back = read(&second.back("it crashed\n\\"));
        assert_eq!((back.package(A), back.package(B)), (first.package(A), None));
        assert_eq!(back.outcome(), Some(&Outcome::Back("it crashed??".to_owned())));
        assert!(!back.names(A, 1));
        let heard = read(&back.heard().unwrap());
        assert!(heard.outcome().is_none() && heard.heard().is_none() && second.heard().is_none());
        let kept = read(&second.kept());
        assert!(!kept.names(A, 0) && kept.names(A, 1) && kept.trial().is_none());
        // A number is never given twice, so what a cut left is never taken for something else.
        assert_eq!(back.switched(&[(B, version(1))], 60).unwrap().package(B).unwrap().number, 3);
    }

    #[test]
    fn trial_is_begun_three_times_and_no_more() {
        let mut ledger = Ledger::default().switched(&[(A, version(1))], 60).unwrap();
        for _ in 1..TRIES_MAX {
            ledger = read(&ledger.begun_again().unwrap());
        }
        assert!(ledger.begun_again().is_none());
    }

    #[test]
    fn app_removed_is_remembered_until_its_data_is_erased() {
        let trial = Ledger::default().switched(&[(A, version(1))], 60).unwrap();
        assert!(trial.removed(A).is_none(), "while it is on trial");
        let ledger = trial.kept();
        assert!(ledger.removed(B).is_none());
        let removed = read(&ledger.removed(A).unwrap());
        assert_eq!((removed.package(A), removed.gone().collect::<Vec<_>>()), (None, vec![A]));
        assert_eq!(removed.erased(A).gone().count(), 0);
        // Its version is remembered until it is there again, for good.
        assert_eq!((removed.erased(A).left(A), removed.left(B)), (Some(version(1)), None));
        let again = read(&removed.erased(A).switched(&[(A, version(2))], 60).unwrap());
        assert_eq!((read(&again.back("why")).left(A), again.kept().left(A)), (Some(version(1)), None));
        // Installed anew before that: nothing of it may be erased.
        assert_eq!(removed.switched(&[(A, version(1))], 60).unwrap().gone().count(), 0);
    }

    #[test]
    fn developers_app_lies_above_what_was_there_and_gives_it_back() {
        let first = Ledger::default().switched(&[(A, version(2))], 60).unwrap();
        assert!(first.with_developed(A, version(1), None).is_none(), "while it is on trial");
        let first = first.kept();
        let key = Some("ab".repeat(32));
        let one = read(&first.with_developed(A, version(1), key.clone()).unwrap());
        let two = read(
            &one.with_developed(A, version(1), key).unwrap().with_developed(B, version(9), None).unwrap(),
        );
        assert_eq!(two.package(A).unwrap().number, 2);
        assert!(two.names(A, 0) && !two.names(A, 1) && two.names(A, 2));
        assert!(two.switched(&[(A, version(3))], 60).is_none() && two.removed(A).is_none());
        // Others are updated meanwhile.
        let two = read(&two.switched(&[("com.example.c", version(1))], 60).unwrap().kept());
        let left = read(&two.without_developed(A).unwrap().without_developed(B).unwrap());
        assert_eq!((left.package(A), left.package(B)), (first.package(A), None));
        assert_eq!(left.developed().count(), 0);
        assert!(left.without_developed(A).is_none());
    }

    #[test]
    fn ledger_hostile_is_refused() {
        let why = |body: &str| Ledger::parse(&with_sum(body)).unwrap_err();
        let head = "gabion-packages 1\nnext 5\n";
        assert!(Ledger::parse(&with_sum(&format!("{head}app {A} 1.0.0 4\n"))).is_ok());
        assert!(why("gabion-packages 2\nnext 5\n").contains("version"));
        assert!(why(&format!("{head}app ../../etc 1.0.0 4\n")).contains("no entry"));
        assert!(why(&format!("{head}app {A} 1.0.0 ../4\n")).contains("no entry"));
        assert!(why(&format!("{head}app {A} 1.0.0 5\n")).contains("never given"));
        assert!(why(&format!("{head}app {A} 1.0.0 4\napp {B} 1.0.0 4\n")).contains("one number"));
        assert!(why(&format!("{head}app {A} 1.0.0 3\napp {A} 1.0.0 4\n")).contains("as it is written"));
        assert!(why(&format!("{head}app {A} 1.0.0 4 \n")).contains("as it is written"));
        assert!(why(&format!("{head}app {A} 1.0.0 4\ngone {A}\n")).contains("both"));
        assert!(why(&format!("{head}trial 60 1\n")).contains("not there"));
        assert!(why(&format!("{head}developer {A} - -\n")).contains("not there"));
        assert!(why(&format!("{head}app {A} 1.0.0 4\ndeveloper {A} ../x -\n")).contains("no entry"));
        assert!(why(&format!("{head}app {A} 1.0.0 4\ndeveloper {A} - 1.0.0 4\n")).contains("one number"));
        let trial = format!("{head}app {A} 1.0.0 4\ndeveloper {A} - -\ntrial 60 1\nbefore {A} -\n");
        assert!(why(&trial).contains("developer's"));
        assert!(why(&format!("{head}trial 60 1\nbefore {A} -\n")).contains("not there"));
        assert!(why(&format!("{head}before {A} -\n")).contains("no entry"));
        assert!(why(&format!("{head}app {A} 1.0.0 4\ntrial 60 4\nbefore {A} -\n")).contains("too long"));
        assert!(why(&format!("{head}outcome back \u{1b}[2J\n")).contains("shown"));
        assert!(why(&format!("{head}nonsense\n")).contains("line 3"));
    }

    proptest! {
        #[test]
        fn any_history_can_be_read_again_and_keeps_what_it_may_go_back_to(
            steps in proptest::collection::vec((0_u8..8, proptest::collection::btree_set(0_usize..5, 1..4)), 0..30)
        ) {
            let ids: Vec<String> = (0..5).map(|n| format!("com.example.a{n}")).collect();
            let mut ledger = Ledger::default();
            let mut before = ledger.clone();
            for (patch, (what, apps)) in (0..).zip(steps) {
                let together: Vec<_> = apps.iter().map(|n| (ids[*n].as_str(), version(patch))).collect();
                let first = together[0].0;
                let next = match what {
                    0 | 1 => ledger.switched(&together, 60),
                    2 => ledger.begun_again(),
                    3 => Some(ledger.kept()),
                    4 => Some(ledger.back("why")),
                    5 => ledger.with_developed(first, version(patch), None),
                    6 => ledger.without_developed(first),
                    _ => ledger.removed(first),
                };
                let Some(next) = next else { continue };
                prop_assert_eq!(&read(&next), &next);
                if what < 2 {
                    before = ledger.clone();
                    // Both sides of the switch are there until it is settled.
                    for (id, package) in before.apps().chain(next.apps()) {
                        prop_assert!(next.names(id, package.number));
                    }
                }
                if what == 4 && ledger.trial().is_some() {
                    for id in &ids {
                        let on_trial = ledger.trial().unwrap().before.contains_key(id);
                        let was = if on_trial { before.package(id) } else { ledger.package(id) };
                        prop_assert_eq!(next.package(id), was);
                    }
                }
                ledger = next;
            }
        }
    }
}
