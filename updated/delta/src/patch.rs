//! A patch: one segment of the new image, told by the old one.
//!
//! It is a sequence of pieces until the segment is full. A piece is bytes of the image, or a cluster: so many bytes
//! stored, so many of contents, and the matches by which they are stored ([`crate::parse`]). Bytes and contents are told
//! as bsdiff does it: so many from a position of the [`crate::reference`], each plus a difference that is mostly zero, then so many
//! new ones.
//!
//! An attacker controls all of it. Memory is bounded by the lengths checked here and the index's; time too: each number
//! that is read makes at least one byte of output, or ends the segment.

use crate::bits::{Bits, Bytes, Model, Numbers};
use crate::index::{Cluster, LENGTH_MAX, STORED_MAX};
use crate::lz4::{Closing, Match};
use crate::parse;
use crate::read::ReadAt;
use crate::reference::{Place, Reference};

/// Most parts of one piece that come from the old image: bounds what is remembered of them.
pub(crate) const PARTS_MAX: usize = 65_536;
/// Most contents that a segment's pieces may have together, bytes; ours have two to three.
const CONTENTS_MAX: usize = 8 << 20;
/// Clusters are so many bytes, and a multiple.
const BLOCK: u32 = 4096;

/// Why a segment can not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// What was fetched is no patch of this index.
    Patch,
    /// The old image can not be read, or is not the one that the index says.
    Old,
}

/// Part of a cluster's contents that comes from an old cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u32,
    pub(crate) length: u32,
    pub(crate) cluster: usize,
    pub(crate) from: u32,
}

/// Which bytes of a cluster's contents are others than the old ones.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<u64>);

impl Changes {
    fn clear(&mut self, length: usize) {
        self.0.clear();
        self.0.resize(length / 64 + 1, 0);
    }

    fn add(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    /// Whether one lies in `from..to`.
    pub(crate) fn any(&self, from: u32, to: u32) -> bool {
        let (first, last) = (from as usize / 64, to as usize / 64);
        (first..=last).any(|index| {
            let mut word = self.0.get(index).copied().unwrap_or(0);
            if index == first {
                word &= u64::MAX << (from % 64);
            }
            if index == last {
                word &= !(u64::MAX << (to % 64));
            }
            word != 0
        })
    }
}

/// What a piece is made of, when it is written. Empty for reading.
#[derive(Debug, Default, Clone)]
pub(crate) struct Piece {
    pub(crate) raw: Vec<u8>,
    /// Parts of it: from the reference, then new.
    pub(crate) parts: Vec<Part>,
    /// As a cluster of so many bytes, by these matches.
    pub(crate) stored: Option<(u32, Vec<Match>)>,
}

/// So many bytes from a position of the reference, then so many new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) from: u64,
    pub(crate) old: u32,
    pub(crate) new: u32,
}

struct Models {
    lengths: Numbers,
    is_cluster: Model,
    backwards: Model,
    distances: Numbers,
    runs: Numbers,
    differences: Bytes,
    new: Bytes,
    matches: parse::Models,
}

impl Models {
    fn new() -> Self {
        Self {
            lengths: Numbers::new(4),
            is_cluster: Model::NEW,
            backwards: Model::NEW,
            distances: Numbers::new(2),
            runs: Numbers::new(8),
            differences: Bytes::new(4 * 256),
            new: Bytes::new(256),
            matches: parse::Models::new(),
        }
    }
}

/// Tells a segment of `length` bytes; gives it. `pieces` are what is written.
pub(crate) fn code<R: ReadAt + ?Sized>(
    bits: &mut impl Bits,
    old: (&R, u64, &[Cluster]),
    length: usize,
    pieces: &[Piece],
) -> Result<Vec<u8>, Broken> {
    let mut telling = Telling {
        models: Models::new(),
        reference: Reference::new(old.0, old.1, old.2),
        next: 0,
        contents: 0,
        raw: Vec::new(),
        spans: Vec::new(),
        changes: Changes::default(),
    };
    let mut out = Vec::with_capacity(length);
    let mut pieces = pieces.iter();
    let nothing = Piece::default();
    while out.len() < length {
        telling.piece(bits, &mut out, length, pieces.next().unwrap_or(&nothing))?;
    }
    Ok(out)
}

struct Telling<'a, R: ?Sized> {
    models: Models,
    reference: Reference<'a, R>,
    /// Where the last part from the reference ended.
    next: u64,
    /// Bytes of the pieces so far.
    contents: usize,
    raw: Vec<u8>,
    spans: Vec<Span>,
    changes: Changes,
}

impl<R: ReadAt + ?Sized> Telling<'_, R> {
    fn piece(
        &mut self,
        bits: &mut impl Bits,
        out: &mut Vec<u8>,
        whole: usize,
        piece: &Piece,
    ) -> Result<(), Broken> {
        let left = whole - out.len();
        let length = self.models.lengths.code(bits, 0, piece.raw.len() as u32);
        let is_cluster = bits.bit(&mut self.models.is_cluster, piece.stored.is_some());
        let most = if is_cluster { LENGTH_MAX as usize } else { left };
        self.contents += length as usize;
        if length == 0 || length as usize > most || self.contents > CONTENTS_MAX {
            return Err(Broken::Patch);
        }
        self.raw.clear();
        self.raw.reserve_exact(length as usize);
        self.spans.clear();
        self.changes.clear(length as usize);
        let mut parts = piece.parts.iter();
        for _ in 0..PARTS_MAX {
            if self.raw.len() == length as usize {
                break;
            }
            self.part(bits, length as usize, piece, parts.next().copied().unwrap_or_default())?;
        }
        if self.raw.len() != length as usize {
            return Err(Broken::Patch);
        }
        if !is_cluster {
            out.extend_from_slice(&self.raw);
            return Ok(());
        }
        let (stored, matches) =
            piece.stored.as_ref().map_or((BLOCK, &[][..]), |(stored, matches)| (*stored, matches));
        let blocks = self.models.lengths.code(bits, 1, stored / BLOCK - 1);
        let stored = blocks.checked_add(1).and_then(|blocks| blocks.checked_mul(BLOCK));
        let stored = stored.filter(|stored| *stored <= STORED_MAX && *stored as usize <= left);
        let stored = stored.ok_or(Broken::Patch)? as usize;
        let Self { models, raw, changes, spans, reference, .. } = self;
        let mut closing = Closing::new(raw, stored);
        let contents = parse::Contents { raw, changes, spans };
        parse::code(bits, &mut models.matches, contents, reference, matches, |next| closing.push(next))?;
        closing.finish(stored, out).ok_or(Broken::Patch)
    }

    fn part(&mut self, bits: &mut impl Bits, whole: usize, piece: &Piece, part: Part) -> Result<(), Broken> {
        let begin = self.raw.len();
        let old = self.models.lengths.code(bits, 2, part.old) as usize;
        if old > whole - begin {
            return Err(Broken::Patch);
        }
        if old > 0 {
            let backwards = bits.bit(&mut self.models.backwards, part.from < self.next);
            let far = u32::try_from(part.from.abs_diff(self.next)).unwrap_or(u32::MAX - 1);
            let far = u64::from(self.models.distances.code(bits, usize::from(backwards), far));
            let from = if backwards { self.next.checked_sub(far) } else { self.next.checked_add(far) };
            let from = from.ok_or(Broken::Patch)?;
            self.copy(from, old)?;
            self.next = from + old as u64;
            self.differences(bits, begin, piece.raw.get(begin..).unwrap_or_default())?;
        }
        let new = self.models.lengths.code(bits, 3, part.new) as usize;
        if new > whole - self.raw.len() || old + new == 0 {
            return Err(Broken::Patch);
        }
        let mut last = self.raw.last().copied().unwrap_or(0);
        let mut given = piece.raw.iter().skip(self.raw.len());
        for _ in 0..new {
            last = self.models.new.code(bits, usize::from(last), given.next().copied().unwrap_or(0));
            self.changes.add(self.raw.len());
            self.raw.push(last);
        }
        Ok(())
    }

    /// Adds `length` bytes of the reference, as they are there.
    fn copy(&mut self, from: u64, length: usize) -> Result<(), Broken> {
        let mut from = from;
        let mut left = length;
        while left > 0 {
            let at = self.raw.len();
            let took = match self.reference.locate(from).ok_or(Broken::Patch)? {
                Place::Image { at: position, left: there } => {
                    let took = left.min(usize::try_from(there).unwrap_or(usize::MAX));
                    self.raw.resize(at + took, 0);
                    self.reference.image(position, self.raw.get_mut(at..).unwrap_or_default())?;
                    took
                }
                Place::Cluster { index, at: position, left: there } => {
                    let took = left.min(there as usize);
                    let opened = self.reference.cluster(index)?;
                    let bytes = opened.raw.get(position as usize..position as usize + took);
                    self.raw.extend_from_slice(bytes.ok_or(Broken::Patch)?);
                    self.spans.push(Span {
                        at: at as u32,
                        length: took as u32,
                        cluster: index,
                        from: position,
                    });
                    took
                }
            };
            from += took as u64;
            left -= took;
        }
        Ok(())
    }

    /// Runs of equal bytes, and what is added to the byte after each.
    fn differences(&mut self, bits: &mut impl Bits, begin: usize, wanted: &[u8]) -> Result<(), Broken> {
        let mut at = begin;
        let (mut group, mut before, mut first, mut last_run) = (0_usize, 0_u8, 0_u8, 0_usize);
        loop {
            let rest = self.raw.get(at..).unwrap_or_default();
            let same = wanted
                .get(at - begin..)
                .map_or(0, |wanted| wanted.iter().zip(rest).take_while(|(new, old)| new == old).count());
            let context = group.min(3) * 2 + usize::from(last_run > 3);
            let run = self.models.runs.code(bits, context, same as u32) as usize;
            if run > rest.len() {
                return Err(Broken::Patch);
            }
            at += run;
            if at == self.raw.len() {
                return Ok(());
            }
            if run > 0 {
                (group, last_run) = (0, run);
                before = first;
            }
            let old = self.raw.get_mut(at).ok_or(Broken::Patch)?;
            let difference = wanted.get(at - begin).map_or(0, |new| new.wrapping_sub(*old));
            let difference =
                self.models.differences.code(bits, group.min(3) * 256 + usize::from(before), difference);
            *old = old.wrapping_add(difference);
            self.changes.add(at);
            if group == 0 {
                first = difference;
            }
            before = difference;
            group += 1;
            at += 1;
        }
    }
}
