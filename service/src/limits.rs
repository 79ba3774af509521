//! How often an address may ask for what needs no credentials.
//!
//! A bucket of tokens for each IPv4 address or IPv6 /64. There is room for so many; when all are in use, those that would
//! be full by now are forgotten, and if none is, addresses that are not known yet are refused: the memory is bounded
//! whatever comes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Addresses remembered at a time.
const ADDRESSES_MAX: usize = 65_536;

/// Requests per address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// A second, in the long run.
    pub per_second: u32,
}

/// The buckets.
#[derive(Debug)]
pub struct Limits {
    rate: Rate,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

/// In thousandths of a request.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u64,
    at_ms: u64,
}

impl Limits {
    /// With all buckets full.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::new(HashMap::new()) }
    }

    /// Whether this request may be done. `now_ms` may count from anywhere.
    pub fn allow(&self, address: IpAddr, now_ms: u64) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let who = network(address);
        let full = u64::from(self.rate.burst) * 1000;
        let filled = |bucket: &Bucket| {
            let since = now_ms.saturating_sub(bucket.at_ms);
            bucket.left.saturating_add(since.saturating_mul(u64::from(self.rate.per_second))).min(full)
        };
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&who) {
            buckets.retain(|_, bucket| filled(bucket) < full);
            if buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let left = buckets.get(&who).map_or(full, filled);
        let allowed = left >= 1000;
        buckets.insert(who, Bucket { left: if allowed { left - 1000 } else { left }, at_ms: now_ms });
        allowed
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_gets_its_burst_and_then_its_rate() {
        let limits = Limits::new(Rate { burst: 2, per_second: 1 });
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!(
            [0, 0, 0, 999, 1000, 1000].map(|at| limits.allow(a, at)),
            [true, true, false, false, true, false]
        );
        assert!(limits.allow(b, 0));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let limits = Limits::new(Rate { burst: 1, per_second: 1 });
        let six = |last| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        assert_eq!([limits.allow(six(1), 0), limits.allow(six(2), 0)], [true, false]);
    }

    #[test]
    fn addresses_beyond_the_room_are_refused_until_some_are_forgotten() {
        let limits = Limits::new(Rate { burst: 1, per_second: 1 });
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        assert!((0..65_536).all(|number| limits.allow(address(number), 0)));
        assert!(!limits.allow(address(70_000), 0));
        assert!(limits.allow(address(70_000), 1000));
    }
}
