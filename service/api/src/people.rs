//! People and machines: how they come in, and what they may do.
//!
//! There are no passwords. A person redeems a one-time code that an administrator made (the first: that `init` printed)
//! or signs in to an OpenID provider that the service was told of,
//! for a session: a token that lasts an hour, and a refresh token that is good for one use within 30 days. A machine
//! presents a client certificate whose digest an administrator registered.

use crate::{Bytes, Code, Name, Subject, Text};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// What somebody may do in a catalog; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum Role {
    /// Looks.
    Reader,
    /// Claims devices, and moves them between products and groups.
    Contributor,
    /// Everything: people, releases, policies, revocation, transfers.
    Administrator,
}

impl Role {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Contributor => "contributor",
            Self::Administrator => "administrator",
        }
    }

    /// The role with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Reader, Self::Contributor, Self::Administrator].into_iter().find(|role| role.as_str() == word)
    }
}

/// Redeems a one-time code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewSession {
    /// The code.
    pub code: Code,
}

/// A sign-in by an OpenID provider (RFC 8628) that began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Flow {
    /// Where the person goes, with any browser.
    pub verification_uri: Text<512>,
    /// The same with the code in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<Text<512>>,
    /// What the person types there.
    pub user_code: Text<64>,
    /// For the next step; nobody but the service can read it.
    pub flow: Bytes<4096>,
    /// After how long to ask for it.
    pub interval_s: u32,
    /// For how long.
    pub expires_s: u32,
}

/// Asks whether the person has signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct FlowStep {
    /// Which sign-in.
    pub flow: Bytes<4096>,
}

/// Whether they have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct SignIn {
    /// Their session; none yet if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// After how long to ask again.
    pub interval_s: u32,
}

/// Asks for the next token of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Refresh {
    /// The session's latest refresh token. One that was used before ends the session: somebody has a copy.
    pub refresh: Code,
}

/// A session's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Session {
    /// Who.
    pub subject: Subject,
    /// `Authorization: Bearer …`.
    pub token: Code,
    /// For how long.
    pub expires_s: u32,
    /// For the next one.
    pub refresh: Code,
    /// For how long.
    pub refresh_expires_s: u32,
}

/// Who the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Me {
    /// The person, or `machine.CATALOG.NAME`.
    pub subject: Subject,
    /// Whether it may make catalogs.
    pub operator: bool,
    /// What it may do where.
    pub roles: Vec<CatalogRole>,
}

/// A role in a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct CatalogRole {
    /// The catalog.
    pub catalog: Name,
    /// The role.
    pub role: Role,
}

/// Invites a person into a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewInvitation {
    /// Whom.
    pub subject: Subject,
    /// As what.
    pub role: Role,
}

/// The code to hand over to the person, on a way the administrator trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Invitation {
    /// Good for one session.
    pub code: Code,
    /// For how long.
    pub expires_s: u32,
}

/// Somebody with a role in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Member {
    /// Who.
    pub subject: Subject,
    /// What they may do.
    pub role: Role,
}

/// Changes a member's role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct MemberRole {
    /// To what.
    pub role: Role,
}

/// Registers a machine (a build server, say) by its client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewMachine {
    /// Its name.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the certificate it presents (DER). Who issued that one is of no account.
    pub certificate_sha256: Bytes<32>,
}

/// A registered machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Machine {
    /// Its name.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the certificate it presents (DER).
    pub certificate_sha256: Bytes<32>,
}
