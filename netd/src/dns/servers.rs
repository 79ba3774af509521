//! Which server is asked first: those that answered, in the order of the configuration. No clock inside.
//!
//! One that was silent or refused is passed over for some seconds, twice as long each time, so that a dead server costs one
//! look-up and not all. After that it is on trial: it is asked beside the next one, so that nobody waits for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Servers that one question is sent to.
pub(super) const SERVERS_MAX: usize = 4;
/// How long one is passed over after its first failure, milliseconds: a server that restarts is back by then.
const AWAY_MS: u64 = 5_000;
/// The same at the most.
const AWAY_MAX_MS: u64 = 300_000;

/// How servers did.
#[derive(Debug, Default)]
pub(super) struct Health(BTreeMap<SocketAddr, Failing>);

#[derive(Debug)]
struct Failing {
    away_ms: u64,
    until_ms: u64,
}

/// A server, and whether it is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) server: SocketAddr,
    pub(super) is_on_trial: bool,
}

impl Health {
    /// Whom to ask, first to last. Those that are passed over come at the end: if all are, one of them is asked.
    pub(super) fn order(&self, servers: &[SocketAddr], now_ms: u64) -> Vec<Place> {
        let until_ms = |server| self.0.get(&server).map(|failing| failing.until_ms);
        let place = |server: &SocketAddr| {
            let until_ms = until_ms(*server);
            let is_on_trial = until_ms.is_some_and(|until_ms| until_ms <= now_ms);
            (until_ms.filter(|until_ms| *until_ms > now_ms), Place { server: *server, is_on_trial })
        };
        let mut places: Vec<_> = servers.iter().map(place).collect();
        places.sort_by_key(|(away_until_ms, _)| *away_until_ms);
        places.into_iter().map(|(_, place)| place).take(SERVERS_MAX).collect()
    }

    /// It answered.
    pub(super) fn good(&mut self, server: SocketAddr) {
        self.0.remove(&server);
    }

    /// It did not.
    pub(super) fn bad(&mut self, server: SocketAddr, now_ms: u64) {
        let failing = self.0.entry(server).or_insert(Failing { away_ms: AWAY_MS / 2, until_ms: now_ms });
        // Questions that were under way together are one failure.
        if failing.until_ms <= now_ms {
            failing.away_ms = (failing.away_ms * 2).min(AWAY_MAX_MS);
            failing.until_ms = now_ms + failing.away_ms;
        }
    }

    /// It was on trial, and another one answered before it could.
    pub(super) fn beaten(&mut self, server: SocketAddr, now_ms: u64) {
        if let Some(failing) = self.0.get_mut(&server) {
            failing.until_ms = now_ms + failing.away_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 53).into()
    }

    fn order(health: &Health, now_ms: u64) -> Vec<(u8, bool)> {
        let all: Vec<_> = (1..=3).map(server).collect();
        let last = |server: SocketAddr| match server.ip() {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        health.order(&all, now_ms).iter().map(|place| (last(place.server), place.is_on_trial)).collect()
    }

    #[test]
    fn server_that_failed_is_last_for_a_while_and_then_on_trial_in_its_place() {
        let mut health = Health::default();
        assert_eq!(order(&health, 0), [(1, false), (2, false), (3, false)]);
        health.bad(server(1), 1000);
        health.bad(server(1), 1001);
        assert_eq!(order(&health, 5_999), [(2, false), (3, false), (1, false)]);
        assert_eq!(order(&health, 6_000), [(1, true), (2, false), (3, false)]);
        health.bad(server(1), 6_000);
        assert_eq!(order(&health, 15_999), [(2, false), (3, false), (1, false)]);
        health.beaten(server(1), 16_000);
        assert_eq!(order(&health, 25_999)[2], (1, false), "as long as before");
        health.good(server(1));
        assert_eq!(order(&health, 16_001)[0], (1, false));
    }

    #[test]
    fn servers_that_all_failed_are_asked_all_the_same_the_first_to_come_back_first() {
        let mut health = Health::default();
        for (n, now_ms) in [(2, 0), (1, 10), (3, 20)] {
            health.bad(server(n), now_ms);
        }
        assert_eq!(order(&health, 30), [(2, false), (1, false), (3, false)]);
    }

    proptest! {
        #[test]
        fn server_is_never_forgotten_nor_away_for_longer_than_the_bound(
            history in proptest::collection::vec((1..=3_u8, 0..3_u8, 0..400_000_u64), 0..60),
        ) {
            let (mut health, mut now_ms) = (Health::default(), 0);
            for (n, what, later_ms) in history {
                now_ms += later_ms;
                match what {
                    0 => health.good(server(n)),
                    1 => health.bad(server(n), now_ms),
                    _ => health.beaten(server(n), now_ms),
                }
                let mut known: Vec<_> = order(&health, now_ms).iter().map(|(n, _)| *n).collect();
                known.sort_unstable();
                prop_assert_eq!(known, vec![1, 2, 3]);
                let later = order(&health, now_ms + AWAY_MAX_MS);
                prop_assert_eq!(later.iter().map(|(n, _)| *n).collect::<Vec<_>>(), vec![1, 2, 3]);
            }
        }
    }
}
