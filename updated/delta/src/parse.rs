//! The matches of a new cluster, told by those of the old ones.
//!
//! Where a new cluster's contents come from an old cluster, its compressor made the same choices but near what changed. So the
//! old match that comes next is foretold, corrected by what can be seen: whether the bytes still match, for how long, and how
//! far the source moved. One bit says that it is so; under models that know how near a change is, 97 of 100 such bits
//! cost next to nothing. What is otherwise is told in parts, each foretold in its turn.
//!
//! An attacker controls the bits read. Every match that comes out lies in the contents, after the one before, and repeats
//! bytes before it; that it truly repeats them is not checked here: the segment's digest is over what results.

use crate::bits::{Bits, Bytes, Model, Numbers};
use crate::lz4::{FARTHEST, Match, Opened, SHORTEST};
use crate::patch::{Broken, Changes, Span};
use crate::read::ReadAt;
use crate::reference::Reference;
use std::rc::Rc;

/// Old matches that are passed over for one that still matches.
const TRIES: usize = 4;
/// Bytes that may be compared for one segment: what telling it costs is bounded by them.
const COMPARED_MAX: u64 = 64 << 20;
/// Distances remembered.
const RECENT: usize = 4;

/// What is learnt of a segment's matches.
pub(crate) struct Models {
    counts: Numbers,
    right: Vec<Model>,
    same_literals: [Model; 8],
    literals: Numbers,
    same_distance: [Model; 16],
    recent: [Model; 2],
    which: Bytes,
    high: Bytes,
    low: Bytes,
    shorter: Numbers,
    compared: u64,
}

impl Models {
    pub(crate) fn new() -> Self {
        Self {
            counts: Numbers::new(1),
            right: vec![Model::NEW; 4096],
            same_literals: [Model::NEW; 8],
            literals: Numbers::new(2),
            same_distance: [Model::NEW; 16],
            recent: [Model::NEW; 2],
            which: Bytes::new(1),
            high: Bytes::new(1),
            low: Bytes::new(256),
            shorter: Numbers::new(3),
            compared: 0,
        }
    }
}

/// What a cluster's matches are of.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) changes: &'a Changes,
    pub(crate) spans: &'a [Span],
}

/// What is foretold.
#[derive(Debug, Clone, Copy)]
struct Foretold {
    next: Match,
    /// What is known of how sure it is: an index into the models, without history.
    doubt: usize,
}

/// Tells the matches of a cluster; gives each to `put`.
pub(crate) fn code<R: ReadAt + ?Sized>(
    bits: &mut impl Bits,
    models: &mut Models,
    contents: Contents<'_>,
    reference: &mut Reference<'_, R>,
    wanted: &[Match],
    mut put: impl FnMut(Match) -> Option<()>,
) -> Result<(), Broken> {
    let Contents { raw, changes, spans } = contents;
    let count = models.counts.code(bits, 0, wanted.len() as u32);
    let mut back: Vec<_> = spans.iter().map(|span| (span.cluster, span.from, span.at, span.length)).collect();
    back.sort_unstable();
    let mut oracle = Oracle { raw, changes, spans, back, span: 0, old: None, next: 0, shift: 0, compared: 0 };
    let mut wanted = wanted.iter().copied();
    let mut history = 0_usize;
    let mut at = 0_u32;
    let mut recent = [1_u32; RECENT];
    for _ in 0..count {
        let want = wanted.next();
        let foretold = oracle.foretell(at, reference)?;
        let doubt = foretold.map_or(511, |foretold| foretold.doubt);
        let right = models.right.get_mut(doubt * 8 + history).ok_or(Broken::Patch)?;
        let is = match foretold {
            Some(_) => bits.bit(right, want.is_some_and(|want| Some(want) == foretold.map(|f| f.next))),
            None => false,
        };
        let next = match foretold.filter(|_| is) {
            Some(foretold) => foretold.next,
            None => told(bits, models, raw, at, foretold, want, &recent)?,
        };
        history = (history << 1 | usize::from(!is)) & 7;
        let fits = next.end() as usize <= raw.len() && (1..=next.at.min(FARTHEST)).contains(&next.distance);
        if !fits || next.at < at || next.length < SHORTEST {
            return Err(Broken::Patch);
        }
        models.compared += std::mem::take(&mut oracle.compared);
        if models.compared > COMPARED_MAX {
            return Err(Broken::Patch);
        }
        oracle.learn(foretold, next);
        if !recent.contains(&next.distance) {
            recent.rotate_right(1);
            recent[0] = next.distance;
        }
        put(next).ok_or(Broken::Patch)?;
        at = next.end();
    }
    Ok(())
}

/// A match in parts.
fn told(
    bits: &mut impl Bits,
    models: &mut Models,
    raw: &[u8],
    at: u32,
    foretold: Option<Foretold>,
    want: Option<Match>,
    recent: &[u32; RECENT],
) -> Result<Match, Broken> {
    let most = u32::try_from(raw.len()).map_err(|_| Broken::Patch)?;
    let mut start = None;
    let mut distance = None;
    let wanted = want.unwrap_or(Match { at, length: SHORTEST, distance: 1 });
    if let Some(foretold) = foretold {
        let model = models.same_literals.get_mut(foretold.doubt & 7).ok_or(Broken::Patch)?;
        if bits.bit(model, wanted.at == foretold.next.at) {
            start = Some(foretold.next.at);
        }
        let context = usize::from(start.is_some()) * 8 + (foretold.doubt & 7);
        let model = models.same_distance.get_mut(context).ok_or(Broken::Patch)?;
        if bits.bit(model, wanted.distance == foretold.next.distance) {
            distance = Some(foretold.next.distance);
        }
    }
    let context = usize::from(foretold.is_some());
    let start = match start {
        Some(start) => start,
        None => at
            .checked_add(models.literals.code(bits, context, wanted.at - at))
            .filter(|start| *start < most)
            .ok_or(Broken::Patch)?,
    };
    let distance = match distance {
        Some(distance) => distance,
        None => {
            let known = recent.iter().position(|distance| *distance == wanted.distance);
            match bits.bit(&mut models.recent[context], known.is_some()) {
                true => {
                    let which = models.which.code(bits, 0, known.unwrap_or(0) as u8);
                    *recent.get(usize::from(which)).ok_or(Broken::Patch)?
                }
                false => {
                    let [high, low] = (wanted.distance as u16).to_be_bytes();
                    let high = models.high.code(bits, 0, high);
                    u32::from(u16::from_be_bytes([high, models.low.code(bits, usize::from(high), low)]))
                }
            }
        }
    };
    let fullest = repeats(raw, start, distance, most);
    models.compared += u64::from(fullest);
    let end = foretold.map_or(0, |foretold| foretold.next.end());
    // As long as it goes, or to where the foretold one ends: the choice that follows is then as foretold.
    let to_end = end.checked_sub(start).filter(|length| (SHORTEST..=fullest).contains(length));
    let (base, context) = match to_end {
        Some(_) => (fullest, 1),
        None => (fullest, 0),
    };
    let mut code = base.wrapping_sub(wanted.length);
    if let Some(length) = to_end {
        // 0: to that end; otherwise one more than how much shorter than it could be.
        code = if wanted.length == length { 0 } else { code.wrapping_add(1) };
        let shorter = models.shorter.code(bits, context, code);
        return Ok(Match {
            at: start,
            length: if shorter == 0 { length } else { base.checked_sub(shorter - 1).ok_or(Broken::Patch)? },
            distance,
        });
    }
    let shorter = models.shorter.code(bits, context, code);
    Ok(Match { at: start, length: base.checked_sub(shorter).ok_or(Broken::Patch)?, distance })
}

/// How many bytes from `at` on, up to `most`, are those that lie `distance` before.
fn repeats(raw: &[u8], at: u32, distance: u32, most: u32) -> u32 {
    let Some(from) = at.checked_sub(distance).filter(|_| distance > 0) else { return 0 };
    let (Some(source), Some(target)) = (raw.get(from as usize..), raw.get(at as usize..)) else { return 0 };
    let mut same = 0;
    let most = (most as usize).min(target.len());
    // Eight at a time, for the most are longer than a few.
    while let (Some(a), Some(b)) = (source.get(same..same + 8), target.get(same..same + 8)) {
        if same + 8 > most || a != b {
            break;
        }
        same += 8;
    }
    while same < most && source.get(same) == target.get(same) {
        same += 1;
    }
    same as u32
}

struct Oracle<'a> {
    raw: &'a [u8],
    changes: &'a Changes,
    spans: &'a [Span],
    /// The same by where they come from: old cluster, place in it, place in the new one, length.
    back: Vec<(usize, u32, u32, u32)>,
    span: usize,
    old: Option<(usize, Rc<Opened>)>,
    /// The first of the old cluster's matches that may come next.
    next: usize,
    /// By how much the last corrected distance was another than the old one.
    shift: i64,
    compared: u64,
}

impl Oracle<'_> {
    fn foretell<R: ReadAt + ?Sized>(
        &mut self,
        at: u32,
        reference: &mut Reference<'_, R>,
    ) -> Result<Option<Foretold>, Broken> {
        while self.spans.get(self.span).is_some_and(|span| span.at + span.length <= at) {
            self.span += 1;
            self.next = usize::MAX;
        }
        // In what was inserted: by where the next old part begins.
        let Some(span) = self.spans.get(self.span) else { return Ok(None) };
        let (inserted, position) = match at.checked_sub(span.at) {
            Some(into) => (0, span.from + into),
            None => (span.at - at, span.from),
        };
        if self.old.as_ref().is_none_or(|(index, _)| *index != span.cluster) {
            self.old = Some((span.cluster, reference.cluster(span.cluster)?));
            self.next = usize::MAX;
        }
        let Some((_, old)) = self.old.clone() else { return Ok(None) };
        let ends = |found: &Match| found.end() < position + SHORTEST;
        if self.next == usize::MAX {
            self.next = old.matches.partition_point(ends);
        }
        while old.matches.get(self.next).is_some_and(ends) {
            self.next += 1;
        }
        for (tried, found) in old.matches.iter().skip(self.next).take(TRIES).enumerate() {
            let inside = position.saturating_sub(found.at);
            let begins = found.at.max(position);
            let start = at + inserted + (begins - position);
            let length = found.length - inside;
            for by in 0..3 {
                let distance = match by {
                    0 => found.distance,
                    1 => self
                        .source(span.cluster, begins - found.distance)
                        .map_or(0, |at| start.wrapping_sub(at)),
                    _ => u32::try_from(i64::from(found.distance) + self.shift).unwrap_or(0),
                };
                if by > 0 && (distance == found.distance || distance > FARTHEST) {
                    continue;
                }
                let same = repeats(self.raw, start, distance, length);
                self.compared += u64::from(same);
                if same < SHORTEST || by == 0 && same < length {
                    continue;
                }
                let (same, kind) = self.extended(&old, found, start, distance, length, same);
                let next = Match { at: start, length: same, distance };
                let near = self.changes.any(at, next.end().saturating_add(8));
                let far = near || self.changes.any(at.saturating_sub(8), next.end().saturating_add(64));
                let doubt = kind
                    + 3 * (by + 3 * (tried.min(2) + 3 * usize::from(inside > 0)))
                    + 54 * (usize::from(near) + usize::from(far))
                    + 162 * usize::from(inserted > 0);
                return Ok(Some(Foretold { next, doubt }));
            }
        }
        Ok(None)
    }

    /// Where in the new contents a byte of an old cluster is.
    fn source(&self, cluster: usize, from: u32) -> Option<u32> {
        let after = self.back.partition_point(|span| (span.0, span.1) <= (cluster, from));
        let (found, begins, at, length) = *self.back.get(after.checked_sub(1)?)?;
        (found == cluster && from - begins < length).then(|| at + (from - begins))
    }

    /// Whether the bytes go on matching where they did not before.
    fn extended(
        &mut self,
        old: &Opened,
        found: &Match,
        start: u32,
        distance: u32,
        length: u32,
        same: u32,
    ) -> (u32, usize) {
        if same < length {
            return (same, 1);
        }
        let byte = |raw: &[u8], at: u32| raw.get(at as usize).copied();
        let went_on = byte(&old.raw, found.end()) == byte(&old.raw, found.end() - found.distance);
        let end = start + same;
        if !went_on && byte(self.raw, end).is_some() && byte(self.raw, end) == byte(self.raw, end - distance)
        {
            let same = repeats(self.raw, start, distance, u32::MAX);
            self.compared += u64::from(same);
            return (same, 2);
        }
        (same, 0)
    }

    /// Remembers by how much a source moved.
    fn learn(&mut self, foretold: Option<Foretold>, next: Match) {
        let Some((_, old)) = &self.old else { return };
        if foretold.is_some_and(|foretold| foretold.next == next) {
            return;
        }
        if let Some(found) = old.matches.get(self.next) {
            let shift = i64::from(next.distance) - i64::from(found.distance);
            if foretold.is_some_and(|foretold| foretold.next.at == next.at) && shift.abs() < 4096 {
                self.shift = shift;
            }
        }
    }
}
