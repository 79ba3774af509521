//! What one app's names were learnt to be, by age. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use firewall::tables::Key;

/// Addresses that are kept for one app, counted by port and protocol.
pub const LEARNT_MAX: usize = 256;
/// The shortest time: an app connects after it has the answer.
pub const TTL_MIN: Duration = Duration::from_secs(10);
/// The longest: a day.
pub const TTL_MAX: Duration = Duration::from_secs(86_400);

/// Learnt last is last.
#[derive(Debug, Default)]
pub(super) struct Learnt(VecDeque<(Key, u64)>);

impl Learnt {
    /// Notes it; returns what has to go for it.
    pub(super) fn add(&mut self, key: Key, until_ns: u64) -> Option<Key> {
        self.0.retain(|(known, _)| *known != key);
        let gone = if self.0.len() >= LEARNT_MAX { self.0.pop_front() } else { None };
        self.0.push_back((key, until_ns));
        gone.map(|(key, _)| key)
    }

    /// One that the kernel's table has from a process before: taken as learnt in the order of their ends.
    pub(super) fn found(&mut self, key: Key, until_ns: u64) {
        let place = self.0.partition_point(|(_, until)| *until <= until_ns);
        self.0.insert(place, (key, until_ns));
    }

    /// Takes out those that were over at `ns`.
    pub(super) fn over(&mut self, ns: u64) -> Vec<Key> {
        let over = self.0.iter().filter(|(_, until)| *until < ns).map(|(key, _)| *key).collect();
        self.0.retain(|(_, until)| *until >= ns);
        over
    }
}

/// A time to live within the bounds, in nanoseconds.
pub(super) fn bounded_ns(ttl: Duration) -> u64 {
    u64::try_from(ttl.clamp(TTL_MIN, TTL_MAX).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall::tables::{Direction, Protocol};
    use proptest::prelude::*;

    fn key(port: u16) -> Key {
        let address = std::net::Ipv6Addr::LOCALHOST;
        Key { uid: 1, generation: 1, direction: Direction::Connect, protocol: Protocol::Tcp, port, address }
    }

    #[test]
    fn address_beyond_the_bound_pushes_the_oldest_out() {
        let mut learnt = Learnt::default();
        for port in 0..LEARNT_MAX as u16 {
            assert_eq!(learnt.add(key(port), 1), None);
        }
        assert_eq!(learnt.add(key(0), 1), None, "learnt again: it is the youngest now");
        assert_eq!(learnt.add(key(5000), 1), Some(key(1)));
    }

    #[test]
    fn time_to_live_is_kept_within_its_bounds() {
        assert_eq!(bounded_ns(Duration::ZERO), 10_000_000_000);
        assert_eq!(bounded_ns(Duration::MAX), 86_400_000_000_000);
        assert_eq!(bounded_ns(Duration::from_secs(60)), 60_000_000_000);
    }

    proptest! {
        #[test]
        fn history_of_learning_and_sweeping_loses_and_keeps_nothing_it_should_not(
            steps in proptest::collection::vec((0_u16..600, 0_u64..1000, any::<bool>()), 0..1500)
        ) {
            let mut learnt = Learnt::default();
            let mut table = std::collections::BTreeMap::new();
            for (port, time, sweep) in steps {
                if sweep && port < 20 {
                    for key in learnt.over(time) {
                        prop_assert!(table.remove(&key).is_some_and(|until| until < time));
                    }
                    prop_assert!(table.values().all(|until| *until >= time));
                } else {
                    if let Some(gone) = learnt.add(key(port), time) {
                        prop_assert!(table.remove(&gone).is_some());
                    }
                    table.insert(key(port), time);
                }
                prop_assert!(table.len() <= LEARNT_MAX && table.len() == learnt.0.len());
            }
        }
    }
}
