//! What was heard from upstream, for all apps: what each may know of it is decided anew each time. No clock inside.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Kind;

/// Entries at most; the one that ends first goes.
const ENTRIES_MAX: usize = 256;

/// What upstream said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its addresses, at least one.
    Addresses(Vec<IpAddr>),
    /// It has none of this kind.
    Nothing,
    /// It is not there.
    NoName,
}

/// The cache.
#[derive(Debug, Default)]
pub struct Cache(BTreeMap<(String, Kind), (u64, Heard)>);

impl Cache {
    /// What is known, with the seconds that are left of it.
    pub fn find(&self, host: &str, kind: Kind, now_s: u64) -> Option<(Heard, u32)> {
        let (until_s, heard) = self.0.get(&(host.to_owned(), kind))?;
        let left = until_s.checked_sub(now_s).filter(|left| *left > 0)?;
        Some((heard.clone(), u32::try_from(left).unwrap_or(u32::MAX)))
    }

    /// Keeps it for so long.
    pub fn keep(&mut self, host: &str, kind: Kind, heard: Heard, ttl_s: u32, now_s: u64) {
        self.0.insert((host.to_owned(), kind), (now_s + u64::from(ttl_s), heard));
        if self.0.len() > ENTRIES_MAX {
            let first = self.0.iter().min_by_key(|(_, (until_s, _))| *until_s).map(|(key, _)| key.clone());
            first.and_then(|key| self.0.remove(&key));
        }
    }

    /// Forgets everything: other servers may know it otherwise.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_lives_for_its_time_and_each_kind_for_itself() {
        let mut cache = Cache::default();
        cache.keep("a.example", Kind::A, Heard::Nothing, 60, 100);
        assert_eq!(cache.find("a.example", Kind::A, 130), Some((Heard::Nothing, 30)));
        assert_eq!(cache.find("a.example", Kind::A, 160), None);
        assert_eq!(cache.find("a.example", Kind::Aaaa, 130), None);
    }

    #[test]
    fn entries_are_bounded_and_the_first_to_end_goes() {
        let mut cache = Cache::default();
        for n in 0..1000_u32 {
            cache.keep(&format!("{n}.example"), Kind::A, Heard::NoName, 1000 + n, 0);
        }
        assert_eq!(cache.0.len(), ENTRIES_MAX);
        assert!(cache.find("999.example", Kind::A, 0).is_some());
        assert!(cache.find("0.example", Kind::A, 0).is_none());
    }
}
