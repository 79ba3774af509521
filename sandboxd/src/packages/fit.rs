//! Whether apps that are to be installed together fit beside those that stay: a device and a port belong to one app. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// What can be had by one app only, and who has it.
#[derive(Debug, Clone, Default)]
pub struct Taken<K>(BTreeMap<K, u32>);

impl<K: Ord + Clone> Taken<K> {
    /// What is held now, without what those who `leave` hold: they get what they will be asking for.
    pub fn by_who_stays<'a>(held: impl Iterator<Item = (&'a K, &'a u32)>, leave: &BTreeSet<u32>) -> Self
    where
        K: 'a,
    {
        let stays = held.filter(|(_, holder)| !leave.contains(holder));
        Self(stays.map(|(what, holder)| (what.clone(), *holder)).collect())
    }

    /// Takes `what` for `who`; the error is who has it already.
    pub fn take(&mut self, what: K, who: u32) -> Result<(), u32> {
        match self.0.insert(what, who) {
            Some(holder) if holder != who => Err(holder),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_of_who_stays_is_refused_and_two_may_swap() {
        let held = BTreeMap::from([(80, 1), (443, 2), (8080, 3)]);
        let leave = BTreeSet::from([1, 2]);
        let mut taken = Taken::by_who_stays(held.iter(), &leave);
        assert_eq!(taken.take(443, 1), Ok(()));
        assert_eq!(taken.take(80, 2), Ok(()));
        assert_eq!(taken.take(80, 2), Ok(()));
        assert_eq!(taken.take(8080, 1), Err(3));
        assert_eq!(taken.take(443, 2), Err(1), "two of those that come together");
    }
}
