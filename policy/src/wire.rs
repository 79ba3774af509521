//! A plan as bytes, between the worker (hostile) and `sandboxd`, and in the image.
//!
//! What travels is the manifest's facts, not what was compiled from them: the receiver checks every value and every
//! rule again and compiles by itself. So a worker that has been taken over can send the plan of *some* manifest under
//! the board's ceiling, and nothing else: no filter of its own making, no capability, no foreign path.
//! Layout: [`MAGIC`], then the facts in postcard's encoding. There is one encoding of each plan.

use crate::board::Board;
use crate::facts::Facts;
use crate::manifest::Manifest;
use crate::plan::{Plan, from_facts};
use crate::problem::Invalid;
use std::fmt;

/// First bytes of an encoded plan; the last one is the version of the layout.
const MAGIC: &[u8; 8] = b"GabPlan\x03";
/// Longest encoded plan in bytes. A manifest is at most 64 KiB of text and its facts are never longer than that plus
/// a few defaults; the bound keeps a hostile sender from making the receiver work.
pub const PLAN_MAX: usize = 256 * 1024;

/// Why bytes are not a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// More than [`PLAN_MAX`] bytes.
    TooLong(usize),
    /// Not the beginning of a plan of this version.
    NotAPlan,
    /// The encoding is broken, or a value is none of its type.
    Broken,
    /// Every value is possible, but a rule between them, or the board's ceiling, is not kept.
    Refused(Invalid),
    /// Not the bytes that encoding the same plan gives.
    NotCanonical,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(length) => write!(f, "plan of {length} bytes is longer than {PLAN_MAX}"),
            Self::NotAPlan => f.write_str("not a plan of this version"),
            Self::Broken => f.write_str("broken plan"),
            Self::Refused(_) => f.write_str("plan breaks a rule"),
            Self::NotCanonical => f.write_str("plan is not in its one encoding"),
        }
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(invalid) => Some(invalid),
            _ => None,
        }
    }
}

impl Plan {
    /// The plan as bytes. Equal plans have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Writing plain strings, numbers and maps into a vector has no way to fail.
        postcard::to_extend(&self.facts, MAGIC.to_vec()).unwrap_or_default()
    }

    /// The plan of an app from bytes of an untrusted sender, held against the ceiling again. Never one of the system.
    pub fn decode(bytes: &[u8], ceiling: &Board) -> Result<Self, DecodeError> {
        decode_as(bytes, ceiling, false)
    }

    /// The plan of one of the image's own boxes, from a file of the *verified* root and from nowhere else.
    pub fn decode_system(bytes: &[u8], ceiling: &Board) -> Result<Self, DecodeError> {
        decode_as(bytes, ceiling, true)
    }
}

fn decode_as(bytes: &[u8], ceiling: &Board, system: bool) -> Result<Plan, DecodeError> {
    if bytes.len() > PLAN_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let body = bytes.strip_prefix(MAGIC.as_slice()).ok_or(DecodeError::NotAPlan)?;
    let facts: Facts = postcard::from_bytes(body).map_err(|_| DecodeError::Broken)?;
    let manifest = Manifest::from_facts(facts, ceiling, system).map_err(DecodeError::Refused)?;
    let plan = from_facts(manifest.facts);
    if plan.encode() != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(plan)
}
