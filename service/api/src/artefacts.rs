//! Artefacts of a catalog: images and what else a release is made of, each named by its SHA-256.
//!
//! ```text
//! PUT  /v1/catalogs/{catalog}/artefacts/{sha256}   the bytes themselves → Artefact   an administrator, who publishes releases
//! GET  /v1/catalogs/{catalog}/artefacts/{sha256}   → the bytes, or a range of them (RFC 9110, one range)
//! GET  /v1/catalogs/{catalog}/artefacts            ArtefactFilter → Page<Artefact>
//! ```

use crate::Digest;
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::{IntoParams, ToSchema};

/// An artefact that is there whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Artefact {
    /// Of its bytes, in hexadecimal.
    pub sha256: Digest,
    /// How many.
    pub size: u64,
    /// Since when, seconds since 1970.
    pub created: u64,
}

/// Which artefacts to list, by their SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(IntoParams))]
pub struct ArtefactFilter {
    /// Behind this one: the last of the page before.
    pub after: Option<Digest>,
    /// At most this many, 1 to 1000; 100 unless told.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u16>,
}
