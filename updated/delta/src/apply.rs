//! Making a new image: says which bytes are wanted next, takes them, gives what is to be written where.
//!
//! There is no clock, socket or file here. The caller goes on like this, and may stop anywhere for days:
//!
//! 1. [`Apply::step`]. [`Step::Fetch`]: ask any web server for that range of the body, and [`Apply::give`] what comes, in pieces
//!    of any size. Step again as soon as a piece was not taken whole.
//! 2. [`Step::Write`]: these bytes are verified. Write them there, then [`Apply::wrote`] and keep its number: another
//!    [`Apply`] begins with it, tomorrow or after a power cut. What was written without it being kept is written again.
//! 3. [`Step::Done`]: everything is written, and where the image has a hash tree, was read back.
//!
//! What holds, whatever comes: only whole segments whose digest is the index's are given out, each for its own place; no more
//! than one is held. After an error the segment is begun anew: another server may have the right bytes.

use crate::blocks::Found;
use crate::index::{BODY_MAX, Index, Kind, SEGMENT_MAX, Segment};
use crate::patch::{self, Broken};
use crate::read::ReadAt;
use crate::{bits, packed, tree};
use ring::digest::{SHA256, digest};
use std::fmt;
use std::ops::Range;

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for this range of the body. It covers following segments too; less than all of it may be taken.
    Fetch(Range<u64>),
    /// Write these bytes there in the new image.
    Write {
        /// First byte.
        at: u64,
        /// Verified.
        bytes: Vec<u8>,
    },
    /// The image is there.
    Done,
}

/// Why a segment could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// What was fetched for this segment is not what the index says.
    Fetched(u32),
    /// The old image cannot be read, or is not what the index says: take another payload.
    Old(u32),
    /// What was written is not what is read back: begin again.
    ReadBack,
    /// More segments were done than there are: the kept number is of another payload.
    Progress,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetched(segment) => write!(f, "what was fetched for segment {segment} is wrong"),
            Self::Old(segment) => write!(f, "the old image is not the one that segment {segment} needs"),
            Self::ReadBack => f.write_str("what was written is not what is read back"),
            Self::Progress => f.write_str("more was done than the payload has"),
        }
    }
}

impl std::error::Error for Wrong {}

/// An image that is being made.
#[derive(Debug)]
pub struct Apply {
    index: Index,
    found: Found,
    /// Segments that are written.
    done: u32,
    /// Where the next one begins, in the image and in the body.
    at: u64,
    body: u64,
    stored: Vec<u8>,
    /// Its blocks were put together, and were not it.
    mistaken: bool,
}

impl Apply {
    /// Goes on after `done` segments; `found` is empty but for an index that lists blocks.
    ///
    /// # Errors
    /// There are not so many segments.
    pub fn new(index: Index, found: Found, done: u32) -> Result<Self, Wrong> {
        let written = index.segments.get(..done as usize).ok_or(Wrong::Progress)?;
        let at = written.iter().map(|segment| u64::from(segment.length)).sum();
        let body = written.iter().map(|segment| u64::from(segment.stored)).sum();
        Ok(Self { index, found, done, at, body, stored: Vec::new(), mistaken: false })
    }

    /// How far into the body what came reaches. It goes back when a segment turns out to be wrong.
    pub fn reached(&self) -> u64 {
        self.body + self.stored.len() as u64
    }

    /// How many bytes of the body are still to be fetched.
    pub fn left(&self) -> u64 {
        let mut at = self.at;
        let mut sum = 0;
        for segment in self.index.segments.iter().skip(self.done as usize) {
            if !self.found.has(&self.index, at, segment.length) {
                sum += u64::from(segment.stored);
            }
            at += u64::from(segment.length);
        }
        sum.saturating_sub(self.stored.len() as u64)
    }

    /// Takes what was fetched, from where the last [`Step::Fetch`] began or the last piece ended; gives how much of it it took.
    pub fn give(&mut self, bytes: &[u8]) -> usize {
        let Some(segment) = self.current() else { return 0 };
        let most = (segment.stored as usize).saturating_sub(self.stored.len()).min(bytes.len());
        self.stored.reserve_exact((segment.stored.min(BODY_MAX) as usize).saturating_sub(self.stored.len()));
        self.stored.extend(bytes.iter().take(most));
        most
    }

    /// Says what is to be done next. `old` is the image that patches and blocks come from, `new` the place that is written to.
    ///
    /// # Errors
    /// What was fetched or read is not what the index says; the segment is begun anew.
    pub fn step(
        &mut self,
        old: &(impl ReadAt + ?Sized),
        new: &(impl ReadAt + ?Sized),
    ) -> Result<Step, Wrong> {
        let Some(segment) = self.current() else { return Ok(Step::Done) };
        if self.stored.is_empty() && !self.mistaken && self.found.has(&self.index, self.at, segment.length) {
            let bytes = self.found.assemble(&self.index, self.at, segment.length, old);
            if let Some(bytes) = bytes.ok().filter(|bytes| verified(&segment, bytes)) {
                return Ok(Step::Write { at: self.at, bytes });
            }
            self.mistaken = true;
        }
        if self.stored.len() < segment.stored as usize {
            let from = self.body + self.stored.len() as u64;
            return Ok(Step::Fetch(from..self.fetched_until()));
        }
        let made = self.make(&segment, old, new);
        self.stored = Vec::new();
        Ok(Step::Write { at: self.at, bytes: made? })
    }

    /// What [`Step::Write`] gave is written; gives how many segments are.
    pub fn wrote(&mut self) -> u32 {
        if let Some(segment) = self.current() {
            self.at += u64::from(segment.length);
            self.body += u64::from(segment.stored);
            self.done += 1;
            self.mistaken = false;
            self.stored = Vec::new();
        }
        self.done
    }

    fn current(&self) -> Option<Segment> {
        self.index.segments.get(self.done as usize).copied()
    }

    /// To the end of the last segment after this one that is to be fetched without a gap.
    fn fetched_until(&self) -> u64 {
        let (mut at, mut end) = (self.at, self.body);
        for (ahead, segment) in self.index.segments.iter().skip(self.done as usize).enumerate() {
            if ahead > 0 && self.found.has(&self.index, at, segment.length) {
                break;
            }
            at += u64::from(segment.length);
            end += u64::from(segment.stored);
        }
        end
    }

    fn make(
        &self,
        segment: &Segment,
        old: &(impl ReadAt + ?Sized),
        new: &(impl ReadAt + ?Sized),
    ) -> Result<Vec<u8>, Wrong> {
        let wrong = Wrong::Fetched(self.done);
        let length = segment.length as usize;
        let bytes = match (segment.kind, self.index.old, &self.index.salt) {
            (Kind::Plain, _, _) => self.stored.clone(),
            (Kind::Packed, _, _) => {
                packed::open(&self.stored, length.min(SEGMENT_MAX as usize)).ok_or(wrong)?
            }
            (Kind::Patch, Some(image), _) => {
                let old = (old, image.length, self.index.clusters.as_slice());
                patch::code(&mut bits::Reader::new(&self.stored), old, length, &[]).map_err(|broken| {
                    match broken {
                        Broken::Patch => wrong,
                        Broken::Old => Wrong::Old(self.done),
                    }
                })?
            }
            (Kind::Tree, _, Some(salt)) => {
                let tree = tree::over(new, self.at, salt).map_err(|_| Wrong::ReadBack)?;
                return if verified(segment, &tree) { Ok(tree) } else { Err(Wrong::ReadBack) };
            }
            (Kind::Patch | Kind::Tree, _, _) => return Err(wrong),
        };
        if verified(segment, &bytes) { Ok(bytes) } else { Err(wrong) }
    }
}

fn verified(segment: &Segment, bytes: &[u8]) -> bool {
    bytes.len() == segment.length as usize && digest(&SHA256, bytes).as_ref() == segment.digest
}
