//! The identity registry: which uid belongs to which app, for ever.
//!
//! One uid per app, from [`FIRST_UID`] up, handed out in order and never handed out twice, so that a new app
//! can not inherit the files, quota or firewall rules of one that is gone. The file is ours alone, but it lies
//! on a writable disk that may have been cut short or edited: whatever does not check out in full is refused
//! and *nothing* is started from it. It is never repaired or reset by guessing (TALOS-2020-1137): an operator
//! decides.
//!
//! Text, one record a line, last line a checksum over all bytes before it:
//! ```text
//! gabion-identity 1
//! next 10002
//! 10000 com.example.display
//! 10001 com.example.thermostat
//! sum 9c0f3f6d8f3f1a22
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::{summed, whole};

/// The first app uid. Below are the system's (see `system.rs`).
pub const FIRST_UID: u32 = sys::bundle::FIRST_APP;
/// The last: above 2^31 some tools take uids for negative.
pub const LAST_UID: u32 = 0x7fff_ffff;
/// No registry is longer: 16,384 apps of 200 bytes.
const MAX_BYTES: u64 = 4 << 20;
const HEADER: &str = "gabion-identity 1";

/// Why a registry is not used.
#[derive(Debug)]
pub enum RegistryError {
    /// Reading or writing failed.
    Io(&'static str, io::Error),
    /// There is data of apps but no registry that says whose.
    Lost,
    /// The text does not check out; where and why.
    Corrupt(String),
    /// No uid is left.
    Full,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(act, _) => write!(f, "can not {act} the identity registry"),
            Self::Lost => f.write_str("the identity registry is missing although apps have data"),
            Self::Corrupt(why) => write!(f, "the identity registry is corrupt: {why}"),
            Self::Full => f.write_str("the identity registry has no uid left"),
        }
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, source) => Some(source),
            _ => None,
        }
    }
}

/// Uids by app id, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    next: u32,
    uids: BTreeMap<String, u32>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { next: FIRST_UID, uids: BTreeMap::new() }
    }
}

impl Registry {
    /// Reads and checks the registry at `path`. With none there, an empty one, unless `data_exists` says that
    /// apps already have data.
    pub fn load(path: &Path, data_exists: bool) -> Result<Self, RegistryError> {
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => {
                let n = file.take(MAX_BYTES).read_to_string(&mut text);
                n.map_err(|e| RegistryError::Io("read", e))?;
                Self::parse(&text)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && !data_exists => Ok(Self::default()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(RegistryError::Lost),
            Err(e) => Err(RegistryError::Io("open", e)),
        }
    }

    /// Replaces the file at `path`: a power cut leaves the old one or the new one.
    pub fn store(&self, path: &Path) -> Result<(), RegistryError> {
        whole::replace(path, self.to_string().as_bytes()).map_err(|e| RegistryError::Io("write", e))
    }

    /// The uid of `id`, and whether it is new (then the registry must be stored before the uid is used).
    pub fn assign(&mut self, id: &str) -> Result<(u32, bool), RegistryError> {
        if let Some(&uid) = self.uids.get(id) {
            return Ok((uid, false));
        }
        let uid = self.next;
        if uid > LAST_UID {
            return Err(RegistryError::Full);
        }
        self.next = uid + 1;
        self.uids.insert(id.to_owned(), uid);
        Ok((uid, true))
    }

    /// The uid of `id`, if it has one.
    pub fn uid(&self, id: &str) -> Option<u32> {
        self.uids.get(id).copied()
    }

    /// Every app that ever had a uid, with it.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        self.uids.iter().map(|(id, uid)| (id.as_str(), *uid))
    }

    /// The app that owns `uid`.
    pub fn owner(&self, uid: u32) -> Option<&str> {
        self.uids.iter().find(|(_, u)| **u == uid).map(|(id, _)| id.as_str())
    }

    /// Checks a whole registry text.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let body = summed::body(text).map_err(corrupt)?;
        let mut lines = body.lines();
        if lines.next() != Some(HEADER) {
            return Err(corrupt("line 1: not a registry of this version"));
        }
        let next = lines.next().and_then(|l| l.strip_prefix("next ")).and_then(|n| n.parse().ok());
        let next: u32 = next.ok_or_else(|| corrupt("line 2: no next uid"))?;
        // One past the last when none is left.
        if !(FIRST_UID..=LAST_UID + 1).contains(&next) {
            return Err(corrupt(format!("line 2: uid {next} is not an app's")));
        }
        let mut registry = Self { next, uids: BTreeMap::new() };
        let mut seen = std::collections::BTreeSet::new();
        for (line, number) in lines.zip(3..) {
            let (uid, id) = entry(line).ok_or_else(|| corrupt(format!("line {number}: no entry")))?;
            if !(FIRST_UID..=LAST_UID).contains(&uid) {
                return Err(corrupt(format!("line {number}: uid {uid} is not an app's")));
            }
            if uid >= next {
                return Err(corrupt(format!("line {number}: uid {uid} was never handed out")));
            }
            if !seen.insert(uid) {
                return Err(corrupt(format!("line {number}: uid {uid} has two owners")));
            }
            if registry.uids.insert(id.to_owned(), uid).is_some() {
                return Err(corrupt(format!("line {number}: {id} is there twice")));
            }
        }
        if registry.to_string() != text {
            return Err(corrupt("it is not as it is written here"));
        }
        Ok(registry)
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = format!("{HEADER}\nnext {}\n", self.next);
        for (id, uid) in &self.uids {
            body.push_str(&format!("{uid} {id}\n"));
        }
        f.write_str(&summed::with_sum(&body))
    }
}

/// `UID ID`; the id is only held to what can not break a line or a path here, `policy` has checked the rest.
fn entry(line: &str) -> Option<(u32, &str)> {
    let (uid, id) = line.split_once(' ')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if id.is_empty() || id.len() > 200 || !id.bytes().all(plain) || uid.starts_with('+') {
        return None;
    }
    Some((uid.parse().ok()?, id))
}

fn corrupt(why: impl Into<String>) -> RegistryError {
    RegistryError::Corrupt(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summed::with_sum;

    fn why(body: &str) -> String {
        Registry::parse(&with_sum(body)).unwrap_err().to_string()
    }

    #[test]
    fn registry_survives_its_own_text() {
        let mut registry = Registry::default();
        assert_eq!(registry.assign("com.example.b").unwrap(), (10_000, true));
        assert_eq!(registry.assign("com.example.a").unwrap(), (10_001, true));
        assert_eq!(registry.assign("com.example.b").unwrap(), (10_000, false));
        assert_eq!(Registry::parse(&registry.to_string()).unwrap(), registry);
        assert_eq!(registry.owner(10_001), Some("com.example.a"));
    }

    #[test]
    fn registry_cut_anywhere_is_refused() {
        let mut registry = Registry::default();
        registry.assign("com.example.a").unwrap();
        registry.assign("com.example.b").unwrap();
        let text = registry.to_string();
        for end in 0..text.len() {
            assert!(Registry::parse(&text[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn registry_any_flipped_bit_is_refused() {
        let mut registry = Registry::default();
        registry.assign("com.example.a").unwrap();
        let text = registry.to_string().into_bytes();
        for at in 0..text.len() * 8 {
            let mut bad = text.clone();
            bad[at / 8] ^= 1 << (at % 8);
            let Ok(bad) = String::from_utf8(bad) else { continue };
            assert!(Registry::parse(&bad).is_err(), "bit {at}");
        }
    }

    #[test]
    fn registry_hostile_entries_are_refused() {
        let head = "gabion-identity 1\nnext 10005\n";
        assert!(why(&format!("{head}0 com.example.a\n")).contains("uid 0 is not an app's"));
        assert!(why(&format!("{head}999 com.example.a\n")).contains("uid 999 is not an app's"));
        assert!(why(&format!("{head}10001 a.b\n10001 c.d\n")).contains("two owners"));
        assert!(why(&format!("{head}10001 a.b\n10002 a.b\n")).contains("twice"));
        assert!(why(&format!("{head}10005 a.b\n")).contains("never handed out"));
        assert!(why(&format!("{head}10001 ../etc\n")).contains("no entry"));
        assert!(why(&format!("{head}+10001 a.b\n")).contains("no entry"));
        assert!(why(&format!("{head}010001 a.b\n")).contains("as it is written"));
        assert!(why(&format!("{head}10002 c.d\n10001 a.b\n")).contains("as it is written"));
        assert!(why("gabion-identity 2\nnext 10000\n").contains("version"));
    }

    #[test]
    fn registry_that_would_hand_out_a_uid_of_the_system_is_refused() {
        for next in ["0", "1001", "9999", "2147483649"] {
            assert!(why(&format!("{HEADER}\nnext {next}\n")).contains("is not an app's"), "{next}");
        }
        let mut full = Registry::parse(&with_sum(&format!("{HEADER}\nnext 2147483648\n"))).unwrap();
        assert!(matches!(full.assign("a.b.c"), Err(RegistryError::Full)));
    }

    #[test]
    fn registry_missing_with_data_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        assert!(Registry::load(&path, false).is_ok());
        assert!(matches!(Registry::load(&path, true), Err(RegistryError::Lost)));
    }

    #[test]
    fn registry_stored_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        let mut registry = Registry::default();
        registry.assign("com.example.a").unwrap();
        registry.store(&path).unwrap();
        assert_eq!(Registry::load(&path, true).unwrap(), registry);
    }
}
