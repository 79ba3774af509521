//! What must hold of keys and statements of a TPM before they count for anything.
//!
//! Order of trust: the endorsement key is vouched for by its certificate; that the attestation key is in the same TPM is
//! shown by a credential that only that TPM opens; everything else is vouched for by the attestation key, which, being
//! restricted, signs only what the TPM itself has said.

use super::{Attest, Attested, Attributes, KeyKind, Public, Selection, Signature, StructureError};
use crate::digest::Digest;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use std::collections::BTreeMap;
use std::fmt;

/// The hierarchy below whose seed a primary key was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// `TPM_RH_OWNER`: ends when the owner clears the TPM.
    Owner,
    /// `TPM_RH_ENDORSEMENT`: the maker's.
    Endorsement,
}

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckError {
    /// A structure cannot be read; the text says which.
    Structure(&'static str, StructureError),
    /// The key lets its TPM do what it must not, or does not what it must; the text says which key.
    Attributes(&'static str),
    /// The signature is not the attestation key's.
    Signature,
    /// The statement is of another kind.
    Kind,
    /// The statement was made for another nonce.
    Nonce,
    /// The statement's signer is not a primary key of the endorsement hierarchy.
    Signer,
    /// Other PCRs were quoted than asked for.
    Selection,
    /// The values that came along are not those that were quoted.
    Values,
    /// Another key was certified, or one that is not a primary key of its hierarchy.
    Name,
}

impl fmt::Display for CheckError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Structure(what, error) => return write!(out, "the {what} {error}"),
            Self::Attributes(key) => {
                return write!(out, "the {key} has other attributes than such a key must have");
            }
            Self::Signature => "the signature is not the attestation key's",
            Self::Kind => "the TPM's statement is of another kind",
            Self::Nonce => "the TPM's statement was made for another nonce",
            Self::Signer => "the signer is not a primary key of the endorsement hierarchy",
            Self::Selection => "other PCRs were quoted than asked for",
            Self::Values => "the PCR values are not those that the TPM quoted",
            Self::Name => "the TPM's statement is about another key",
        };
        out.write_str(text)
    }
}

impl std::error::Error for CheckError {}

const OF_THIS_TPM: u32 = Attributes::FIXED_TPM | Attributes::FIXED_PARENT | Attributes::SENSITIVE_DATA_ORIGIN;

impl Public {
    /// It is made like an endorsement key by the TCG EK Credential Profile: decrypts credentials, signs nothing.
    pub fn check_endorsement(&self) -> Result<(), CheckError> {
        let good = self.attributes.has(OF_THIS_TPM | Attributes::RESTRICTED | Attributes::DECRYPT)
            && !self.attributes.has(Attributes::SIGN)
            && self.symmetric
            && !self.scheme;
        good.then_some(()).ok_or(CheckError::Attributes("endorsement key"))
    }

    /// It is an attestation key: signs only what its TPM has made.
    pub fn check_attestation(&self) -> Result<(), CheckError> {
        let good = self.attributes.has(OF_THIS_TPM | Attributes::RESTRICTED | Attributes::SIGN)
            && !self.attributes.has(Attributes::DECRYPT)
            && self.scheme;
        good.then_some(()).ok_or(CheckError::Attributes("attestation key"))
    }

    /// It is an application's key: signs anything, decrypts nothing, and never leaves its TPM.
    pub fn check_application(&self) -> Result<(), CheckError> {
        let good = self.attributes.has(OF_THIS_TPM | Attributes::SIGN)
            && !self.attributes.has(Attributes::RESTRICTED)
            && !self.attributes.has(Attributes::DECRYPT);
        good.then_some(()).ok_or(CheckError::Attributes("application's key"))
    }

    /// The qualified name of this key as a primary key of a hierarchy (part 1, 16.4): bound to nothing else above it.
    #[must_use]
    pub fn qualified_name(&self, hierarchy: Hierarchy) -> Vec<u8> {
        let handle: u32 = match hierarchy {
            Hierarchy::Owner => 0x4000_0001,
            Hierarchy::Endorsement => 0x4000_000b,
        };
        super::public::name(&Digest::of(&[&handle.to_be_bytes()[..], &self.name()].concat()))
    }

    fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), CheckError> {
        let verified = match (&self.key, signature) {
            (KeyKind::P256 { x, y }, Signature::Ecdsa(signature)) => {
                let point = [&[4][..], x, y].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (KeyKind::Rsa(modulus), Signature::Rsassa(signature)) => {
                RsaPublicKeyComponents { n: modulus.as_slice(), e: &[1, 0, 1] }.verify(
                    &RSA_PKCS1_2048_8192_SHA256,
                    message,
                    signature,
                )
            }
            _ => return Err(CheckError::Signature),
        };
        verified.map_err(|_| CheckError::Signature)
    }
}

/// What both kinds of statements must fulfil, in the order in which a fault says most.
fn statement(ak: &Public, attest: &[u8], signature: &[u8], nonce: &[u8]) -> Result<Attest, CheckError> {
    ak.check_attestation()?;
    let signature = Signature::read(signature).map_err(|error| CheckError::Structure("signature", error))?;
    ak.verify(attest, &signature)?;
    let attest = Attest::read(attest).map_err(|error| CheckError::Structure("TPM's statement", error))?;
    if attest.nonce != nonce {
        return Err(CheckError::Nonce);
    }
    // Otherwise the key could hang below one that was imported: fixedParent alone says nothing of what is above.
    if attest.qualified_signer != ak.qualified_name(Hierarchy::Endorsement) {
        return Err(CheckError::Signer);
    }
    Ok(attest)
}

/// `attest` is a quote by `ak`, over `nonce`, of exactly the PCRs `wanted`, which hold `values`.
///
/// What is answered has the clock; whether it may have gone back is for who keeps the last one.
pub fn check_quote(
    ak: &Public,
    attest: &[u8],
    signature: &[u8],
    nonce: &[u8],
    wanted: Selection,
    values: &BTreeMap<u32, Digest>,
) -> Result<Attest, CheckError> {
    let statement = statement(ak, attest, signature, nonce)?;
    let Attested::Quote { selection, digest } = &statement.attested else { return Err(CheckError::Kind) };
    if *selection != wanted || !values.keys().copied().eq(wanted.numbers()) {
        return Err(CheckError::Selection);
    }
    let all: Vec<u8> = values.values().flat_map(|value| value.0).collect();
    if Digest::of(&all) != *digest {
        return Err(CheckError::Values);
    }
    Ok(statement)
}

/// `attest` is a certification by `ak`, over `nonce`, that `key` is a primary key of this TPM's `hierarchy`.
pub fn check_certification(
    ak: &Public,
    attest: &[u8],
    signature: &[u8],
    nonce: &[u8],
    key: &Public,
    hierarchy: Hierarchy,
) -> Result<(), CheckError> {
    let statement = statement(ak, attest, signature, nonce)?;
    let Attested::Certify { name, qualified_name } = &statement.attested else {
        return Err(CheckError::Kind);
    };
    if *name != key.name() || *qualified_name != key.qualified_name(hierarchy) {
        return Err(CheckError::Name);
    }
    Ok(())
}
