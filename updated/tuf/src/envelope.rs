//! A file of metadata: what is signed, and signatures.
//!
//! What an attacker controls: all of it, until [`Envelope::signed_by`] says that enough keys have signed. What is read then
//! is read from the text that the canonical form was made of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::key::{Key, Verifier};
use crate::metadata::{Head, RoleKeys, Signed};
use crate::refusal::Why;
use crate::{canonical, hex};

/// Signatures that a file may have, and keys that a role may have.
const SIGNATURES_MAX: usize = 64;

/// As it is written.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    signed: &'a RawValue,
    signatures: Vec<Signature>,
}

/// A signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signature {
    /// By which key.
    pub keyid: String,
    /// Hexadecimal.
    pub sig: String,
}

/// A file.
#[derive(Debug)]
pub struct Envelope<'a> {
    signed: &'a str,
    canonical: Vec<u8>,
    signatures: Vec<Signature>,
}

/// Who may sign a role's file, and how many have to. Each key counts once, whatever it is called.
#[derive(Clone, Debug, Default)]
pub struct Authority {
    keys: Vec<(String, Verifier)>,
    threshold: u32,
}

impl Authority {
    /// The keys of a role, of those that its delegator names. What is of no kind that is understood counts for nobody.
    pub fn of(keys: &BTreeMap<String, Key>, role: &RoleKeys) -> Self {
        let ids: BTreeSet<&String> = role.keyids.iter().take(SIGNATURES_MAX).collect();
        let keys = ids.into_iter().filter_map(|id| Some((id.clone(), keys.get(id)?.verifier()?)));
        Self { keys: keys.collect(), threshold: role.threshold }
    }

    /// Whether a key is one of them.
    pub fn has(&self, keyid: &str) -> bool {
        self.keys.iter().any(|(id, _)| id == keyid)
    }

    /// How many have to sign.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }
}

impl<'a> Envelope<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Why> {
        let form = |error: serde_json::Error| Why::Form(error.to_string());
        let written: Written<'a> = serde_json::from_slice(bytes).map_err(form)?;
        let signed = written.signed.get();
        let ids: BTreeSet<&String> = written.signatures.iter().map(|signature| &signature.keyid).collect();
        if written.signatures.len() > SIGNATURES_MAX {
            return Err(Why::Form("more signatures than any role has keys".to_owned()));
        }
        // 4.2.1: "The keyid MUST be unique in the "signatures" array".
        if ids.len() != written.signatures.len() {
            return Err(Why::Form("two signatures by one key".to_owned()));
        }
        let canonical = canonical::of(signed).map_err(form)?;
        Ok(Self { signed, canonical, signatures: written.signatures })
    }

    /// How many different keys of `authority` have signed.
    pub fn good(&self, authority: &Authority) -> usize {
        let mut good: Vec<&Verifier> = Vec::new();
        for (id, key) in &authority.keys {
            let signatures = self.signatures.iter().filter(|signature| &signature.keyid == id);
            let mut bytes = signatures.filter_map(|signature| hex::decode(&signature.sig));
            if !good.contains(&key) && bytes.any(|bytes| key.verifies(&self.canonical, &bytes)) {
                good.push(key);
            }
        }
        good.len()
    }

    /// Whether enough keys have signed.
    ///
    /// # Errors
    /// They have not.
    pub fn signed_by(&self, authority: &Authority) -> Result<(), Why> {
        let (good, needed) = (self.good(authority), authority.threshold);
        let enough = usize::try_from(needed).is_ok_and(|needed| needed > 0 && good >= needed);
        enough.then_some(()).ok_or(Why::Signatures { good, needed })
    }

    /// What is signed.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse<T: Signed>(&self) -> Result<T, Why> {
        let value: T = serde_json::from_str(self.signed).map_err(|error| Why::Form(error.to_string()))?;
        let Head { kind, spec_version, version, .. } = value.head();
        if kind != T::ROLE.name() {
            return Err(Why::Kind(kind.chars().filter(char::is_ascii_graphic).take(30).collect()));
        }
        if !spec_version.starts_with("1.") || version == 0 {
            return Err(Why::Form("another specification's, or version 0".to_owned()));
        }
        Ok(value)
    }

    /// What is signed, as it is written.
    pub fn signed_text(&self) -> &str {
        self.signed
    }

    /// The signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// What they are over.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }
}
