//! Payloads that are made here, applied under everything that may go wrong on the way. What holds in every history: nothing is
//! given out to be written but the new image's own bytes in their own place.

#![expect(clippy::unwrap_used, reason = "what can not be made fails the test")]

mod made;

use delta::{Apply, Found, Index, Kind, Step, Wrong};
use made::{Pair, pair};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Applies until it is done, by pieces of `cut` bytes; gives how many were fetched.
fn apply(
    pair: &Pair,
    body: &[u8],
    index: &Index,
    found: Found,
    cut: usize,
) -> Result<(Vec<u8>, usize), Wrong> {
    let mut slot = vec![0xaa; pair.new.len()];
    let mut apply = Apply::new(index.clone(), found, 0)?;
    let mut fetched = 0;
    loop {
        match apply.step(&pair.old, &slot)? {
            Step::Done => return Ok((slot, fetched)),
            Step::Fetch(range) => {
                let (from, to) = (range.start as usize, range.end as usize);
                let piece = &body[from..to.min(from.saturating_add(cut))];
                let took = apply.give(piece);
                assert!(took > 0);
                fetched += took;
            }
            Step::Write { at, bytes } => {
                pair.write(&mut slot, at, &bytes);
                apply.wrote();
            }
        }
    }
}

#[test]
fn patch_of_a_compressed_image_is_small_and_yields_the_new_one() {
    let pair = pair();
    let payload = pair.patch();
    let index = Index::read(&payload.index).unwrap();
    let (slot, fetched) = apply(pair, &payload.body, &index, Found::default(), usize::MAX).unwrap();
    assert!(slot == pair.new);
    assert_eq!(fetched as u64, index.body_length());
    assert!(index.segments().iter().all(|segment| matches!(segment.kind, Kind::Patch | Kind::Tree)));
    // What changed of the contents is a few hundred bytes; of the stored bytes it is nearly half of the image.
    assert!(payload.body.len() < 4000, "{}", payload.body.len());
    let same = pair.new.chunks(4096).filter(|block| pair.old.chunks(4096).any(|old| old == *block)).count();
    assert!(same * 4096 < pair.new.len() * 3 / 4, "{same}");
}

#[test]
fn hash_tree_is_made_and_not_fetched_and_a_slot_that_lost_what_was_written_is_told() {
    let pair = pair();
    let payload = pair.patch();
    let index = Index::read(&payload.index).unwrap();
    let tree = index.segments().last().copied().unwrap();
    assert_eq!((tree.kind, tree.stored), (Kind::Tree, 0));
    let last = index.segments().len() as u32 - 1;
    let at = pair.new.len() - tree.length as usize;
    let mut slot = pair.new[..at].to_vec();
    let mut done = Apply::new(index.clone(), Found::default(), last).unwrap();
    let Step::Write { at: place, bytes } = done.step(&pair.old, &slot).unwrap() else { panic!("no tree") };
    assert_eq!((place as usize, bytes.as_slice()), (at, &pair.new[at..]));
    slot[5000] ^= 1;
    assert_eq!(done.step(&pair.old, &slot), Err(Wrong::ReadBack));
}

#[test]
fn full_payload_needs_no_old_image_and_fetches_no_block_that_one_has() {
    let pair = pair();
    let payload = pair.full();
    let index = Index::read(&payload.index).unwrap();
    let nothing = Pair { old: Vec::new(), new: pair.new.clone() };
    let (slot, all) = apply(&nothing, &payload.body, &index, Found::default(), 1000).unwrap();
    assert!(slot == pair.new);
    assert_eq!(all as u64, index.body_length());
    let found = Found::search(&index, &pair.old).unwrap();
    let left = Apply::new(index.clone(), found, 0).unwrap().left();
    let found = Found::search(&index, &pair.old).unwrap();
    let (slot, fetched) = apply(pair, &payload.body, &index, found, usize::MAX).unwrap();
    assert!(slot == pair.new);
    assert_eq!(fetched as u64, left);
    assert!(fetched < all, "{fetched} of {all}");
    let found = Found::search(&index, &pair.new).unwrap();
    assert_eq!(Apply::new(index, found, 0).unwrap().left(), 0);
}

#[test]
fn payload_is_the_same_bytes_each_time() {
    let pair = pair();
    assert!(delta::make::patch(&pair.old, &pair.new, &mut |_, _, _| ()).unwrap() == *pair.patch());
    assert!(delta::make::full(&pair.new, &mut |_, _, _| ()).unwrap() == *pair.full());
}

#[test]
fn another_old_image_is_told_and_nothing_of_it_written() {
    let pair = pair();
    let payload = pair.patch();
    let index = Index::read(&payload.index).unwrap();
    let other = Pair { old: pair.old.iter().map(|byte| byte ^ 0x55).collect(), new: pair.new.clone() };
    let wrong = apply(&other, &payload.body, &index, Found::default(), usize::MAX).unwrap_err();
    assert!(matches!(wrong, Wrong::Old(_) | Wrong::Fetched(_)), "{wrong}");
}

#[test]
fn index_cut_anywhere_or_with_more_behind_it_is_refused() {
    for payload in [pair().patch(), pair().full()] {
        for cut in 0..payload.index.len() {
            assert!(Index::read(&payload.index[..cut]).is_err(), "{cut}");
        }
        assert!(Index::read(&[&payload.index[..], &[0]].concat()).is_err());
        assert_eq!(Index::read(&payload.index).unwrap().write(), payload.index);
    }
}

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    /// So much of what was asked for comes.
    Comes(usize),
    /// A byte of it is another.
    Wrong(usize, u8),
    /// Random bytes come, as many as anybody takes.
    Endless(u8),
    /// The power goes: what was not kept is forgotten.
    Cut,
    /// It goes between writing and keeping.
    CutBeforeKept,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1_usize..100_000).prop_map(Event::Comes),
        1 => (any::<usize>(), 1_u8..).prop_map(|(at, by)| Event::Wrong(at, by)),
        1 => any::<u8>().prop_map(Event::Endless),
        1 => Just(Event::Cut),
        1 => Just(Event::CutBeforeKept),
    ];
    proptest::collection::vec(event, 0..40)
}

/// Goes through a history, then lets everything come; what is there at the end, and at each write, is the new image.
fn survives(pair: &Pair, payload: &delta::make::Payload, blocks: bool, history: Vec<Event>) {
    let index = Index::read(&payload.index).unwrap();
    let found = || if blocks { Found::search(&index, &pair.old).unwrap() } else { Found::default() };
    let mut slot = vec![0xaa; pair.new.len()];
    let (mut kept, mut refused) = (0, 0);
    let mut apply = Apply::new(index.clone(), found(), kept).unwrap();
    let mut history = history.into_iter();
    let mut forget = false;
    loop {
        match apply.step(&pair.old, &slot) {
            Ok(Step::Done) => break,
            Ok(Step::Write { at, bytes }) => {
                pair.write(&mut slot, at, &bytes);
                let done = apply.wrote();
                if forget {
                    forget = false;
                    apply = Apply::new(index.clone(), found(), kept).unwrap();
                } else {
                    kept = done;
                }
            }
            Err(Wrong::Fetched(_)) => refused += 1,
            Err(other) => panic!("{other}"),
            Ok(Step::Fetch(range)) => {
                let body = &payload.body[range.start as usize..range.end as usize];
                match history.next() {
                    None => _ = apply.give(body),
                    Some(Event::Comes(count)) => _ = apply.give(&body[..count.min(body.len())]),
                    Some(Event::Wrong(at, by)) => {
                        let mut body = body.to_vec();
                        let at = at % body.len();
                        body[at] ^= by;
                        apply.give(&body);
                    }
                    Some(Event::Endless(byte)) => {
                        let took = apply.give(&vec![byte; 4 << 20]);
                        assert!(took <= delta::BODY_MAX as usize);
                    }
                    Some(Event::Cut) => apply = Apply::new(index.clone(), found(), kept).unwrap(),
                    Some(Event::CutBeforeKept) => forget = true,
                }
            }
        }
    }
    assert!(slot == pair.new);
    assert!(refused <= 40);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn patch_survives_every_history(history in events()) {
        survives(pair(), pair().patch(), false, history);
    }

    #[test]
    fn blocks_and_ranges_survive_every_history(history in events()) {
        survives(pair(), pair().full(), true, history);
    }

    #[test]
    fn changed_index_is_refused_or_makes_nothing_else(at in any::<usize>(), by in 1_u8..) {
        let pair = pair();
        let payload = pair.patch();
        let mut bytes = payload.index.clone();
        let at = at % bytes.len();
        bytes[at] ^= by;
        if let Ok(index) = Index::read(&bytes) {
            prop_assert_eq!(&index.write(), &bytes);
            let mut slot = vec![0; pair.new.len()];
            let mut apply = Apply::new(index, Found::default(), 0).unwrap();
            for _ in 0..200 {
                match apply.step(&pair.old, &slot) {
                    Ok(Step::Fetch(range)) => {
                        let end = (range.end as usize).min(payload.body.len());
                        let Some(piece) = payload.body.get(range.start as usize..end) else { break };
                        if apply.give(piece) == 0 {
                            break;
                        }
                    }
                    Ok(Step::Write { at, bytes }) => {
                        // A changed digest of the whole, or a salt, is not the segments' matter.
                        pair.write(&mut slot, at, &bytes);
                        apply.wrote();
                    }
                    Ok(Step::Done) | Err(_) => break,
                }
            }
        }
    }
}
