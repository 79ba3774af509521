//! Refusals that are alike, as one. Pure.
//!
//! An app refuses itself as often as it likes: the kernel tells of 32 a second for each app, and for each app of as many
//! that came from outside; here at most [`ALIKE_MAX`] different ones of an app come out of one round.

use std::collections::BTreeMap;
use std::net::IpAddr;

use firewall::tables::{Direction, Refusal};

/// Different refusals of one app in one round.
const ALIKE_MAX: usize = 32;
/// Records that one round reads.
const ROUND: usize = 2048;

/// Refusals of one box that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The box.
    pub uid: u32,
    /// To connect or send, to listen, or from outside.
    pub direction: Direction,
    /// The kernel's number of the protocol.
    pub protocol: u8,
    /// The peer's port, or the box's own.
    pub port: u16,
    /// The peer, or the address to listen at.
    pub address: IpAddr,
    /// How many.
    pub count: u64,
    /// How many more refusals of the box there were that are not told one by one.
    pub untold: u64,
}

/// What records come to.
pub(super) fn gathered(records: impl Iterator<Item = [u8; Refusal::BYTES]>) -> Vec<Refused> {
    let mut boxes: BTreeMap<u32, Vec<Refused>> = BTreeMap::new();
    for refusal in records.take(ROUND).filter_map(|record| Refusal::decode(&record)) {
        let told = boxes.entry(refusal.uid).or_default();
        let Refusal { uid, direction, protocol, port, address, untold } = refusal;
        let new = Refused { uid, direction, protocol, port, address, count: 1, untold: untold.into() };
        let full = told.len() >= ALIKE_MAX;
        if let Some(same) = told.iter_mut().find(|same| alike(same, &new)) {
            same.count += 1;
            same.untold += new.untold;
        } else if let Some(first) = told.first_mut().filter(|_| full) {
            first.untold += new.untold + 1;
        } else {
            told.push(new);
        }
    }
    boxes.into_values().flatten().collect()
}

fn alike(one: &Refused, other: &Refused) -> bool {
    let place = |r: &Refused| (r.direction, r.protocol, r.port, r.address);
    place(one) == place(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(uid: u32, port: u16, untold: u32) -> [u8; Refusal::BYTES] {
        let mut bytes = [0; Refusal::BYTES];
        bytes[..4].copy_from_slice(&uid.to_le_bytes());
        bytes[5] = 6;
        bytes[6..8].copy_from_slice(&port.to_le_bytes());
        bytes[18..24].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        bytes[24..].copy_from_slice(&untold.to_le_bytes());
        bytes
    }

    #[test]
    fn refusals_that_are_alike_are_one_with_their_number() {
        let gathered = gathered([record(1, 80, 0), record(1, 80, 7), record(2, 80, 0)].into_iter());
        assert_eq!(
            gathered.iter().map(|r| (r.uid, r.count, r.untold)).collect::<Vec<_>>(),
            [(1, 2, 7), (2, 1, 0)]
        );
        assert_eq!(gathered[0].address, "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn refusals_of_many_kinds_are_bounded_for_each_box_and_none_is_lost() {
        let many = (1..=1000).map(|port| record(1, port, 0)).chain([record(2, 1, 0)]);
        let gathered = gathered(many);
        let first: Vec<_> = gathered.iter().filter(|r| r.uid == 1).collect();
        assert_eq!(first.len(), ALIKE_MAX);
        assert_eq!(first.iter().map(|r| r.count + r.untold).sum::<u64>(), 1000);
        assert_eq!(gathered.len(), ALIKE_MAX + 1);
    }
}
