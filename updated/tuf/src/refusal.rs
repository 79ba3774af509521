//! Why metadata or a target is refused.

use std::fmt;

use crate::date::Date;

/// What is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The role, or the target.
    pub what: String,
    /// Why.
    pub why: Why,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not there.
    Missing,
    /// It is not written as agreed.
    Form(String),
    /// It is something else than it should be.
    Kind(String),
    /// Too few of its role's keys have signed it.
    Signatures {
        /// How many have.
        good: usize,
        /// How many have to.
        needed: u32,
    },
    /// It is another version than it should be.
    Version {
        /// What it is.
        is: u64,
        /// What was said before.
        expected: u64,
    },
    /// It is older than what was seen already.
    Rollback {
        /// What it is.
        is: u64,
        /// What was seen.
        seen: u64,
    },
    /// What a snapshot had is not in the next.
    Removed(String),
    /// It is no more to be believed.
    Expired(Date),
    /// Its length is not what was said, or it goes on for longer than anything may.
    Length {
        /// At most, or exactly.
        most: u64,
    },
    /// Its digest is not what was said, or none that is known was said.
    Digest,
    /// No snapshot speaks of it.
    NotInSnapshot,
    /// More roots one after the other than are taken at once.
    Roots,
    /// More roles than are asked for one target.
    Roles,
    /// No role that may says that there is such a target.
    NoTarget,
    /// No name of a role, or path of a target.
    Name,
}

impl Refusal {
    pub(crate) fn of(what: &str, why: Why) -> Self {
        let what: String = what.chars().take(100).map(|c| if c.is_control() { '?' } else { c }).collect();
        Self { what, why }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is not there"),
            Self::Form(why) => write!(f, "not written as agreed: {why}"),
            Self::Kind(is) => write!(f, "it is something else: {is}"),
            Self::Signatures { good, needed } => {
                write!(f, "{good} of its role's keys have signed it, of {needed}")
            }
            Self::Version { is, expected } => write!(f, "it is version {is}, not {expected}"),
            Self::Rollback { is, seen } => {
                write!(f, "version {is} is older than {seen}, which was seen already")
            }
            Self::Removed(role) => write!(f, "it no longer has {role}"),
            Self::Expired(date) => write!(f, "it has expired at {date}"),
            Self::Length { most } => {
                write!(f, "its length is not what was said, or it is longer than {most} bytes")
            }
            Self::Digest => f.write_str("its digest is not what was said"),
            Self::NotInSnapshot => f.write_str("the snapshot does not have it"),
            Self::Roots => f.write_str("too many roots at once"),
            Self::Roles => f.write_str("too many roles for one target"),
            Self::NoTarget => f.write_str("nobody who may says that there is such a target"),
            Self::Name => f.write_str("not a name that may be"),
        }
    }
}

impl std::error::Error for Refusal {}

impl std::error::Error for Why {}
