//! A role's file: what is signed, and the signatures that there are.

use serde::Serialize;
use serde_json::value::RawValue;
use tuf::envelope::{Authority, Envelope, Signature};
use tuf::metadata::Signed;
use tuf::refusal::Why;

use crate::keys::Signer;

/// A file, as it is or will be published.
#[derive(Clone, Debug)]
pub struct Document<T> {
    /// What is signed.
    pub value: T,
    /// The file.
    pub bytes: Vec<u8>,
}

#[derive(Serialize)]
struct Written<'a> {
    signatures: &'a [Signature],
    signed: Box<RawValue>,
}

impl<T: Signed> Document<T> {
    /// Nobody has signed it yet.
    ///
    /// # Errors
    /// It has what canonical JSON has not: numbers that are no whole ones.
    pub fn unsigned(value: T) -> Result<Self, Why> {
        let text = serde_json::to_string(&value).map_err(|error| Why::Form(error.to_string()))?;
        let bytes = written(text, &[])?;
        Self::read(bytes)
    }

    /// Reads a file, signed or not.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: Vec<u8>) -> Result<Self, Why> {
        let value = Envelope::read(&bytes)?.parse()?;
        Ok(Self { value, bytes })
    }

    /// With the signatures of these.
    ///
    /// # Errors
    /// Never, for a document that was read.
    pub fn signed(self, signers: &[&Signer]) -> Result<Self, Why> {
        let bytes = with_signatures(&self.bytes, signers)?;
        Ok(Self { value: self.value, bytes })
    }
}

/// The same file with these signatures besides; another signature by one of the keys goes.
///
/// # Errors
/// It is no file of metadata.
pub fn with_signatures(bytes: &[u8], signers: &[&Signer]) -> Result<Vec<u8>, Why> {
    let envelope = Envelope::read(bytes)?;
    let others = envelope.signatures().iter().filter(|old| signers.iter().all(|new| new.id() != old.keyid));
    let mut signatures: Vec<Signature> = others.cloned().collect();
    signatures.extend(signers.iter().map(|signer| signer.sign(envelope.canonical())));
    written(envelope.signed_text().to_owned(), &signatures)
}

/// How many of the keys have signed it, and how many have to.
///
/// # Errors
/// It is no file of metadata.
pub fn signatures(bytes: &[u8], authority: &Authority) -> Result<(usize, u32), Why> {
    let envelope = Envelope::read(bytes)?;
    match envelope.signed_by(authority) {
        Err(Why::Signatures { good, needed }) => Ok((good, needed)),
        Ok(()) => Ok((envelope.good(authority), authority.threshold())),
        Err(why) => Err(why),
    }
}

fn written(signed: String, signatures: &[Signature]) -> Result<Vec<u8>, Why> {
    let form = |error: serde_json::Error| Why::Form(error.to_string());
    let signed = RawValue::from_string(signed).map_err(form)?;
    serde_json::to_vec(&Written { signatures, signed }).map_err(form)
}
