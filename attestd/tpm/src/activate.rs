//! Credential activation: what was encrypted to the endorsement key comes out of this TPM only, and only if the attestation
//! key whose name it bears is in it too.

use zeroize::Zeroizing;

use crate::command::Command;
use crate::constants::{RH_ENDORSEMENT, SESSION_ENCRYPT, ST_AUTH_SECRET};
use crate::error::Error;
use crate::public;
use crate::session::{Session, Use};
use crate::tpm::{Call, Entity, Tpm};
use crate::transport::Transport;
use crate::wire::{Reader, Writer};

/// The longest credential and secret that are handed on: those of an RSA key of 2048 bits take 256 bytes.
const MOST: usize = 512;

impl<T: Transport> Tpm<T> {
    /// What is in a credential made for this TPM's endorsement key and attestation key. `blob` is `TPMS_ID_OBJECT` and
    /// `secret` the encrypted seed, both without the size that a `TPM2B` begins with.
    ///
    /// # Errors
    /// See [`Error`]; refused by the TPM if it was made for another.
    pub fn activate(&mut self, blob: &[u8], secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if blob.len() > MOST || secret.len() > MOST {
            return Err(Error::Argument("a credential that is too long"));
        }
        let parameters = Writer::new().sized(blob).sized(secret);
        let (endorsement, _) = self.endorsement()?;
        self.with_primary(&public::attestation(), |tpm, ak| {
            tpm.with_primary(&endorsement, |tpm, ek| {
                let entities = [&ak.entity, &ek.entity];
                let call = Call::new(Command::ActivateCredential, &entities, parameters);
                tpm.with_session(|tpm, session| {
                    tpm.with_policy(|tpm, policy| {
                        tpm.policy_secret(session, policy)?;
                        let mut sessions = [
                            Use { session, attributes: SESSION_ENCRYPT },
                            Use { session: policy, attributes: 0 },
                        ];
                        tpm.protected(&call, &mut sessions, |reader| {
                            reader.sized(MOST).map(|bytes| Zeroizing::new(bytes.to_vec()))
                        })
                    })
                })
            })
        })
    }

    /// Fulfils the policy of the endorsement key: `session` may speak for its hierarchy.
    fn policy_secret(&mut self, session: &mut Session, policy: &Session) -> Result<(), Error> {
        let (hierarchy, policy) = (Entity::fixed(RH_ENDORSEMENT), Entity::fixed(policy.handle));
        let entities = [&hierarchy, &policy];
        // No nonce, no cpHash, no policyRef, no expiration.
        let parameters = Writer::new().sized(&[]).sized(&[]).sized(&[]).u32(0);
        let call = Call::new(Command::PolicySecret, &entities, parameters);
        self.protected(&call, &mut [Use { session, attributes: 0 }], read_timeout)
    }
}

/// A time-out and a ticket, both empty: none was asked for.
fn read_timeout(reader: &mut Reader<'_>) -> Option<()> {
    reader.sized(8)?;
    reader.expect_u16(ST_AUTH_SECRET)?;
    reader.u32()?;
    reader.sized(64).map(drop)
}
