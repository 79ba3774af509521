//! Records for the audit log, so bounded that no app can flood it: a burst, then a steady rate, for each box,
//! interface and kind, and another for all that one box causes. What is held back is counted, and told with the next one, or after a while by itself.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bus::control::{Event, EventKind, Key};

use crate::bucket::Bucket;

/// Records at once, and per second after that.
const BURST: u32 = 20;
const PER_S: u32 = 2;
/// The same for all that one box causes: with many interfaces it would still fill the log alone.
const BOX_BURST: u32 = 60;
const BOX_PER_S: u32 = 6;
/// The same for calls, which are told only while a developer looks on.
const CALLED_BURST: u32 = 100;
const CALLED_PER_S: u32 = 50;
/// Most records that wait for room in the socket to `sandboxd`.
const WAITING_MAX: usize = 32;

#[derive(Debug)]
struct Line {
    bucket: Bucket,
    /// Held back: how many, and what the last one said.
    suppressed: u32,
    last: Option<(u64, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    lines: BTreeMap<(Rc<Key>, EventKind), Line>,
    boxes: BTreeMap<u32, Bucket>,
    waiting: VecDeque<Event>,
}

impl Records {
    /// Something happened.
    pub(super) fn note(&mut self, key: &Rc<Key>, kind: EventKind, serial: u64, detail: &str, now: u64) {
        let (burst, per_s) =
            if kind == EventKind::Called { (CALLED_BURST, CALLED_PER_S) } else { (BURST, PER_S) };
        let line = self.lines.entry((Rc::clone(key), kind)).or_insert_with(|| Line {
            bucket: Bucket::new(per_s, burst, now),
            suppressed: 0,
            last: None,
        });
        if self.waiting.len() < WAITING_MAX
            && may(&mut self.boxes, key.uid, kind, now)
            && line.bucket.take(now)
        {
            line.last = None;
            let suppressed = std::mem::take(&mut line.suppressed);
            self.waiting.push_back(event(key, kind, serial, detail.to_owned(), suppressed));
        } else {
            line.suppressed = line.suppressed.saturating_add(1);
            line.last = Some((serial, detail.to_owned()));
        }
    }

    /// Tells what was held back as far as it may, and forgets lines that are as good as new.
    pub(super) fn flush(&mut self, now: u64) {
        let (waiting, boxes) = (&mut self.waiting, &mut self.boxes);
        self.lines.retain(|(key, kind), line| {
            let room = line.suppressed > 0 && waiting.len() < WAITING_MAX;
            if room && may(boxes, key.uid, *kind, now) && line.bucket.take(now) {
                let suppressed = std::mem::take(&mut line.suppressed) - 1;
                let (serial, detail) = line.last.take().unwrap_or_default();
                waiting.push_back(event(key, *kind, serial, detail, suppressed));
            }
            line.suppressed > 0 || !line.bucket.is_full(now)
        });
        boxes.retain(|_, bucket| !bucket.is_full(now));
    }

    /// Whether something is held back.
    pub(super) fn owes(&self) -> bool {
        self.lines.values().any(|line| line.suppressed > 0)
    }

    /// The next one to tell.
    pub(super) fn first(&self) -> Option<&Event> {
        self.waiting.front()
    }

    /// It was told.
    pub(super) fn told(&mut self) {
        self.waiting.pop_front();
    }
}

/// Whether a box may still have something told. Calls have a bound of their own and are told to who looks on alone.
fn may(boxes: &mut BTreeMap<u32, Bucket>, uid: u32, kind: EventKind, now: u64) -> bool {
    let of_box = || Bucket::new(BOX_PER_S, BOX_BURST, now);
    kind == EventKind::Called || boxes.entry(uid).or_insert_with(of_box).take(now)
}

fn event(key: &Key, kind: EventKind, serial: u64, detail: String, suppressed: u32) -> Event {
    Event { kind, uid: key.uid, interface: key.interface.clone(), serial, detail, suppressed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_box_are_bounded_over_all_its_interfaces() {
        let mut records = Records::default();
        let mut told = 0;
        for n in 0..32 {
            let key = Rc::new(Key { uid: 10_000, interface: format!("com.example.I{n}") });
            for _ in 0..20 {
                records.note(&key, EventKind::Refused, 0, "x", 1);
                told += usize::from(records.first().is_some());
                records.told();
            }
        }
        assert_eq!(told, BOX_BURST as usize);
        assert!(records.owes());
        let other = Rc::new(Key { uid: 10_001, interface: "com.example.I".into() });
        records.note(&other, EventKind::Refused, 0, "x", 1);
        assert!(records.first().is_some_and(|event| event.uid == 10_001));
    }
}
