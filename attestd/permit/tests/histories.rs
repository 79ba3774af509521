//! A device's book through generated histories: permits of two catalogs and two devices, ends, clocks that jump, restarts.
//!
//! Beside it goes the plainest account of what may be: which permits were ever taken, the latest time, which were let go.

mod tools;

use permit::{Book, Ground, Taken, Way};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use tools::{Catalog, DEVICE, OTHER};

const BEGIN_S: u64 = 1_800_000_000;
/// Moments there are, and seconds between two.
const MOMENTS: u64 = 12;
const STEP_S: u64 = 3600;

/// One permit of the supply: whose, for whom, from when until when.
struct One {
    catalog: usize,
    ours: bool,
    issued: u64,
    expires: u64,
    text: String,
}

static CATALOGS: LazyLock<[Catalog; 2]> = LazyLock::new(|| [Catalog::new("acme"), Catalog::new("other")]);

static SUPPLY: LazyLock<Vec<One>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (catalog, signer) in CATALOGS.iter().enumerate() {
        for (ours, device) in [(true, DEVICE), (false, OTHER)] {
            for (issued, expires) in (0..MOMENTS).flat_map(|from| [(from, from + 1), (from, from + 4)]) {
                let text = signer.permit(device, at(issued), at(expires));
                all.push(One { catalog, ours, issued, expires, text });
            }
        }
    }
    all
});

fn at(moment: u64) -> u64 {
    BEGIN_S + moment * STEP_S
}

#[derive(Clone, Debug)]
enum Act {
    Offer(usize, bool),
    Look,
    End,
    Clock(u64),
    Restart,
    Move(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (0..SUPPLY.len(), any::<bool>()).prop_map(|(which, service)| Act::Offer(which, service)),
        3 => Just(Act::Look),
        1 => Just(Act::End),
        4 => (0..MOMENTS + 4).prop_map(Act::Clock),
        1 => Just(Act::Restart),
        1 => (0..2_usize).prop_map(Act::Move),
    ]
}

proptest! {
    #[test]
    fn book_holds_what_it_promises(acts in proptest::collection::vec(act(), 1..60)) {
        let (mut book, mut now, mut catalog) = (Book::default(), 0, 0);
        let (mut latest, mut newest, mut held) = (0, None, None::<usize>);
        let mut let_go = BTreeSet::new();
        for act in acts {
            let ground: Ground<'_> = CATALOGS[catalog].ground(DEVICE);
            match act {
                Act::Clock(moment) => now = moment,
                Act::Move(to) => catalog = to,
                Act::Restart => {
                    book = serde_json::from_str(&serde_json::to_string(&book).unwrap()).unwrap();
                }
                Act::End => {
                    prop_assert_eq!(book.end(), held.is_some());
                    let_go.extend(held.take());
                }
                Act::Offer(which, service) => {
                    let one = &SUPPLY[which];
                    let time = if service { now } else { latest.max(now) };
                    let good = one.catalog == catalog && one.ours && one.expires > time && one.issued <= time;
                    let same = held == Some(which);
                    let fresh = newest.is_none_or(|newest| one.issued > newest);
                    let way = if service { Way::Service } else { Way::Hand };
                    let done = book.take(&one.text, ground, way, at(now));
                    prop_assert_eq!(done.is_ok(), good && (same || fresh), "{:?}", done);
                    if let Ok(taken) = done {
                        prop_assert_eq!(taken == Taken::Same, same);
                        prop_assert!(!let_go.contains(&which), "one that was let go is back");
                        let_go.extend(held.replace(which).filter(|before| *before != which));
                        (newest, latest) = (Some(one.issued), time);
                    }
                }
                Act::Look => {
                    latest = latest.max(now);
                    let stays = held.filter(|which| {
                        let one = &SUPPLY[*which];
                        one.catalog == catalog && one.expires > latest
                    });
                    let found = book.in_force(Some(ground), at(now));
                    prop_assert_eq!(found.is_some(), stays.is_some());
                    if let (Some(found), Some(which)) = (found, stays) {
                        prop_assert_eq!(found.terms().expires_s, at(SUPPLY[which].expires));
                        prop_assert_eq!(found.terms().device.as_str(), DEVICE);
                    }
                    let_go.extend(held.filter(|_| stays.is_none()));
                    held = stays;
                }
            }
            prop_assert_eq!(book.is_held(), held.is_some());
        }
    }
}
