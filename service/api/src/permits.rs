//! Permits: leave for one developer's key to put apps onto one device, for a time.

use crate::{Bytes, Digest, Name, Subject, Text};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// Lets a developer put apps onto a device. It takes the place of the device's permit before, if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewPermit {
    /// The developer's certificate, DER, of a key on P-256. Nobody need vouch for it: it is this one and no other.
    pub certificate: Bytes<2048>,
    /// For how long, seconds: 30 days at most.
    #[cfg_attr(feature = "openapi", schema(minimum = 60, maximum = 2_592_000))]
    pub lifetime_s: u32,
    /// What for, or who it is.
    #[serde(default)]
    pub note: Text<256>,
}

/// A permit that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Permit {
    /// Names it.
    pub id: Name,
    /// SHA-256 of the developer's certificate.
    pub developer: Digest,
    /// What for.
    pub note: Text<256>,
    /// Who issued it.
    pub issuer: Subject,
    /// Since when, seconds since 1970.
    pub issued: u64,
    /// Until when.
    pub expires: u64,
    /// Since when it was ended before that, if it was: by somebody, by a later permit, or because the device left.
    pub ended: Option<u64>,
    /// The permit itself, as the device is given it: a JWT. It is of no use without the developer's key.
    pub permit: Text<4096>,
}
