//! A payload that is applied once before anybody gets it, by the code that devices have.

use super::Payload;
use crate::{Apply, Found, Index, Refused, Step, Wrong};
use std::fmt;

/// Why a payload makes no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untried {
    /// Its index is none.
    Index(Refused),
    /// A segment is not what the index says.
    Segment(Wrong),
    /// The index is of another body.
    Body,
    /// The index is of another image.
    Image,
}

impl fmt::Display for Untried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(refused) => write!(f, "{refused}"),
            Self::Segment(wrong) => write!(f, "{wrong}"),
            Self::Body => f.write_str("the index is of another body"),
            Self::Image => f.write_str("the index is of another image"),
        }
    }
}

impl std::error::Error for Untried {}

impl Payload {
    /// What it makes of `old`, an image of `length` bytes.
    ///
    /// # Errors
    /// Index, body and images do not belong together.
    pub fn apply(&self, old: &[u8], length: usize) -> Result<Vec<u8>, Untried> {
        let mut slot = vec![0; length];
        let index = Index::read(&self.index).map_err(Untried::Index)?;
        let mut apply = Apply::new(index, Found::default(), 0).map_err(Untried::Segment)?;
        loop {
            match apply.step(old, slot.as_slice()).map_err(Untried::Segment)? {
                Step::Done => return Ok(slot),
                Step::Fetch(range) => {
                    let body = usize::try_from(range.start).ok().and_then(|from| self.body.get(from..));
                    apply.give(body.ok_or(Untried::Body)?);
                }
                Step::Write { at, bytes } => {
                    let at = usize::try_from(at).map_err(|_| Untried::Image)?;
                    let end = at.checked_add(bytes.len()).ok_or(Untried::Image)?;
                    slot.get_mut(at..end).ok_or(Untried::Image)?.copy_from_slice(&bytes);
                    apply.wrote();
                }
            }
        }
    }
}
