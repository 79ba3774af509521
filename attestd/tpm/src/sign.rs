//! What keys sign: digests for applications, and what the TPM itself says of its PCRs and keys.

use crate::command::Command;
use crate::constants::{ALG_ECDSA, ALG_NULL, ALG_SHA256, RH_NULL, ST_HASHCHECK};
use crate::error::Error;
use crate::keys::{KeyId, selection};
use crate::public::{self, coordinate};
use crate::session::Use;
use crate::tpm::{Call, Tpm};
use crate::transport::Transport;
use crate::wire::{Reader, Writer};

/// The longest `TPMS_ATTEST` that is read.
const MOST_ATTEST: usize = 1024;

/// The longest nonce that is put into what the TPM says.
const MOST_NONCE: usize = 64;

/// What the TPM says, and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// `TPMS_ATTEST`.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`: ECDSA with SHA-256 over it, by the attestation key.
    pub signature: Vec<u8>,
}

impl<T: Transport> Tpm<T> {
    /// Signs a SHA-256 digest with an application's key: ECDSA, in DER as TLS and X.509 have it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn sign(&mut self, key: KeyId, digest: &[u8; 32]) -> Result<Vec<u8>, Error> {
        self.with_primary(&public::application(&key.0), |tpm, key| {
            // The scheme is the key's. A ticket that says that the TPM made the digest is for restricted keys.
            let parameters =
                Writer::new().sized(digest).u16(ALG_NULL).u16(ST_HASHCHECK).u32(RH_NULL).sized(&[]);
            let entities = [&key.entity];
            let call = Call::new(Command::Sign, &entities, parameters);
            tpm.with_session(|tpm, session| {
                let mut sessions = [Use { session, attributes: 0 }];
                tpm.protected(&call, &mut sessions, read_signature).map(|(r, s)| der(&r, &s))
            })
        })
    }

    /// What is in these PCRs, as a statement that the attestation key signs, with the asker's `nonce` in it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn quote(&mut self, nonce: &[u8], pcrs: &[u8]) -> Result<Attested, Error> {
        let parameters = Writer::new().sized(checked(nonce)?).u16(ALG_NULL).bytes(&selection(pcrs)?);
        self.with_primary(&public::attestation(), |tpm, ak| {
            let entities = [&ak.entity];
            let call = Call::new(Command::Quote, &entities, parameters);
            tpm.with_session(|tpm, session| {
                tpm.protected(&call, &mut [Use { session, attributes: 0 }], read_attested)
            })
        })
    }

    /// That an application's key is in this TPM, as a statement that the attestation key signs, with the asker's `nonce`
    /// in it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn certify(&mut self, key: KeyId, nonce: &[u8]) -> Result<Attested, Error> {
        let parameters = Writer::new().sized(checked(nonce)?).u16(ALG_NULL);
        self.with_primary(&public::application(&key.0), |tpm, key| {
            tpm.with_primary(&public::attestation(), |tpm, ak| {
                let entities = [&key.entity, &ak.entity];
                let call = Call::new(Command::Certify, &entities, parameters);
                // Both keys authorise, and a session authorises once in a command.
                tpm.with_session(|tpm, first| {
                    tpm.with_session(|tpm, second| {
                        let mut sessions = [first, second].map(|session| Use { session, attributes: 0 });
                        tpm.protected(&call, &mut sessions, read_attested)
                    })
                })
            })
        })
    }
}

fn checked(nonce: &[u8]) -> Result<&[u8], Error> {
    if nonce.len() > MOST_NONCE { Err(Error::Argument("a nonce of more than 64 bytes")) } else { Ok(nonce) }
}

fn read_attested(reader: &mut Reader<'_>) -> Option<Attested> {
    let attest = reader.sized(MOST_ATTEST)?.to_vec();
    let signature = reader.rest();
    Reader::whole(signature, read_signature)?;
    Some(Attested { attest, signature: signature.to_vec() })
}

/// `TPMT_SIGNATURE` of ECDSA with SHA-256 on P-256: its two numbers.
pub fn read_signature(reader: &mut Reader<'_>) -> Option<([u8; 32], [u8; 32])> {
    reader.expect_u16(ALG_ECDSA)?;
    reader.expect_u16(ALG_SHA256)?;
    Some((coordinate(reader)?, coordinate(reader)?))
}

/// `ECDSA-Sig-Value` (RFC 3279, 2.2.3).
fn der(r: &[u8; 32], s: &[u8; 32]) -> Vec<u8> {
    let body = [integer(r), integer(s)].concat();
    // At most 2 * 35 bytes.
    [&[0x30, body.len() as u8], &body[..]].concat()
}

fn integer(number: &[u8; 32]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count().min(31);
    let digits = number.get(zeros..).unwrap_or_default();
    // A first bit of 1 would be a sign.
    let sign: &[u8] = if digits.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    [&[2, (sign.len() + digits.len()) as u8], sign, digits].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_der_are_positive_and_shortest() {
        let number = |end: &[u8]| {
            let mut bytes = [0; 32];
            bytes[32 - end.len()..].copy_from_slice(end);
            bytes
        };
        assert_eq!(integer(&number(&[])), [2, 1, 0]);
        assert_eq!(integer(&number(&[0x7f])), [2, 1, 0x7f]);
        assert_eq!(integer(&number(&[0x80])), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0xff; 32]).len(), 35);
        assert_eq!(der(&number(&[1]), &number(&[2])), [0x30, 6, 2, 1, 1, 2, 1, 2]);
    }
}
