//! Refusals: RFC 9457 problem details, with reasons that a person can read.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The kind of refusal, a name that programs can compare: `urn:gabion:problem:…`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Each thing that was wrong.
    #[serde(default)]
    pub reasons: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        self.reasons.iter().try_for_each(|reason| write!(f, "; {reason}"))
    }
}

impl std::error::Error for Problem {}
