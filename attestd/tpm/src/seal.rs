//! Secrets that only this TPM gives out, and only in a boot state that a key off the device has signed.
//!
//! The sealed object's policy is `PolicyAuthorize` with that key: so the states may be signed later, by each release for
//! itself, and an update does not lock the secret away. A state is `PolicyPCR` over some PCRs of the SHA-256 bank, as
//! `systemd-measure` signs it.
//!
//! What is written to the disk is not secret and may be altered there: it is read strictly, and of an altered one nothing
//! comes out, or what the attacker had sealed himself. Whether a secret is the right one its user finds out.

use zeroize::Zeroizing;

use crate::command::Command;
use crate::constants::{
    DIGEST, HT_TRANSIENT, MOST_PUBLIC, RH_OWNER, SESSION_DECRYPT, SESSION_ENCRYPT, ST_VERIFIED,
};
use crate::crypto::{self, Digest};
use crate::error::Error;
use crate::keys::{read_creation, selection};
use crate::policy_key::PolicyKey;
use crate::public::{self, Name};
use crate::session::{Session, Use};
use crate::tpm::{Call, Entity, Tpm};
use crate::transport::Transport;
use crate::wire::{Reader, Writer};

/// The longest secret (`MAX_SYM_DATA`).
pub const MOST_SECRET: usize = 128;

/// The longest `TPM2B_PRIVATE` that is taken.
const MOST_PRIVATE: usize = 1024;

/// A secret as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The storage root key that it is under.
    storage: Name,
    key: PolicyKey,
    public: Vec<u8>,
    private: Vec<u8>,
}

/// A boot state that the key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPolicy {
    /// PCRs of the SHA-256 bank.
    pub pcrs: Vec<u8>,
    /// `PolicyPCR` over them, beginning with no policy.
    pub policy: [u8; 32],
    /// The key's over `policy`, hashed with SHA-256: of RSA with PKCS #1's padding, of P-256 in DER.
    pub signature: Vec<u8>,
}

impl Sealed {
    /// As it is written to the disk: four sized buffers.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Writer::new()
            .sized(&self.storage)
            .sized(self.key.public())
            .sized(&self.public)
            .sized(&self.private)
            .done()
    }

    /// Reads what [`Sealed::to_bytes`] writes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Reader::whole(bytes, |reader| {
            let storage = reader.within(34, Reader::array)?;
            let key = PolicyKey::from_public(reader.sized(MOST_PUBLIC)?)?;
            let public = public::read(reader, &public::sealed(&key.policy()))?;
            let private = reader.sized(MOST_PRIVATE)?.to_vec();
            Some(Self { storage, key, public: public.bytes().to_vec(), private })
        })
    }

    /// The key that signs the states in which it opens.
    #[must_use]
    pub fn key(&self) -> &PolicyKey {
        &self.key
    }
}

impl<T: Transport> Tpm<T> {
    /// Seals a secret of at most [`MOST_SECRET`] bytes to the states that `key` signs.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn seal(&mut self, secret: &[u8], key: &PolicyKey) -> Result<Sealed, Error> {
        if secret.is_empty() || secret.len() > MOST_SECRET {
            return Err(Error::Argument("a secret has 1 to 128 bytes"));
        }
        let storage = self.storage()?;
        let template = public::sealed(&key.policy());
        // Room for all that follows, so that no copy of the secret is left where the buffer was before it grew.
        let parameters = Writer::with_room(512)
            .u16((4 + secret.len()) as u16)
            .sized(&[])
            .sized(secret)
            .sized(&template.bytes())
            .sized(&[])
            .u32(0);
        let entities = [&storage.entity];
        let call = Call::new(Command::Create, &entities, parameters);
        let (private, public) = self.with_session(|tpm, session| {
            let mut sessions = [Use { session, attributes: SESSION_DECRYPT }];
            tpm.protected(&call, &mut sessions, |reader| {
                let private = reader.sized(MOST_PRIVATE)?.to_vec();
                let public = public::read(reader, &template)?;
                read_creation(reader)?;
                Some((private, public))
            })
        })?;
        let public = public.bytes().to_vec();
        Ok(Sealed { storage: storage.public.name(), key: key.clone(), public, private })
    }

    /// The secret, if one of `policies` is for the state that the machine is in.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::NoSignedPolicy`] if none is, and [`Error::Unexpected`] if another TPM sealed it.
    pub fn unseal(
        &mut self,
        sealed: &Sealed,
        policies: &[SignedPolicy],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let storage = self.storage()?;
        if storage.public.name() != sealed.storage {
            return Err(Error::Unexpected("another storage root key than the one that it was sealed under"));
        }
        let (fulfilled, state) = self.current(policies)?;
        let ticket = self.ticket(&sealed.key, fulfilled)?;
        let parameters = Writer::new().sized(&sealed.private).sized(&sealed.public);
        let entities = [&storage.entity];
        let call = Call::loading(Command::Load, &entities, parameters);
        let name = public::name(&sealed.public);
        let (handle, ()) = self.with_session(|tpm, session| {
            tpm.loading(&call, &mut [Use { session, attributes: 0 }], HT_TRANSIENT, |reader| {
                (reader.sized(34)? == name).then_some(())
            })
        })?;
        let object = Entity::named(handle, &name);
        self.with(handle, |tpm| {
            tpm.with_policy(|tpm, policy| {
                tpm.fulfil(policy, &sealed.key, fulfilled, &state, &ticket)?;
                let entities = [&object];
                let call = Call::new(Command::Unseal, &entities, Writer::new());
                let mut sessions = [Use { session: policy, attributes: SESSION_ENCRYPT }];
                tpm.protected(&call, &mut sessions, |reader| {
                    reader.sized(MOST_SECRET).map(|bytes| Zeroizing::new(bytes.to_vec()))
                })
            })
        })
    }

    /// Which of the policies is for the state that the machine is in, and the digest of its PCRs.
    fn current<'a>(&mut self, policies: &'a [SignedPolicy]) -> Result<(&'a SignedPolicy, Digest), Error> {
        let all: Vec<u8> = policies.iter().flat_map(|policy| policy.pcrs.iter().copied()).collect();
        let values = self.read_pcrs(&all)?;
        for policy in policies {
            let selected = values.iter().filter(|(pcr, _)| policy.pcrs.contains(pcr));
            let state = crypto::sha256(&selected.map(|(_, value)| &value[..]).collect::<Vec<_>>());
            let code = Command::PolicyPcr.code().to_be_bytes();
            let digest = crypto::sha256(&[&[0; DIGEST], &code, &selection(&policy.pcrs)?, &state]);
            if digest == policy.policy {
                return Ok((policy, state));
            }
        }
        Err(Error::NoSignedPolicy)
    }

    /// The TPM's ticket for a signature by `key` over `policy`.
    fn ticket(&mut self, key: &PolicyKey, policy: &SignedPolicy) -> Result<Vec<u8>, Error> {
        let signature = key.signature(&policy.signature);
        let signature =
            signature.ok_or(Error::Argument("a signature that is not one of the policy's key"))?;
        // No private part, and the owner's hierarchy, without which there is no ticket.
        let parameters = Writer::new().sized(&[]).sized(key.public()).u32(RH_OWNER);
        let call = Call::loading(Command::LoadExternal, &[], parameters);
        let (handle, ()) = self
            .plain_loading(&call, HT_TRANSIENT, |reader| (reader.sized(34)? == key.name()).then_some(()))?;
        self.with(handle, |tpm| {
            let loaded = Entity::named(handle, &key.name());
            let entities = [&loaded];
            let parameters = Writer::new().sized(&crypto::sha256(&[&policy.policy])).bytes(&signature);
            let call = Call::new(Command::VerifySignature, &entities, parameters);
            tpm.plain(&call, |reader| {
                let ticket = reader.rest();
                Reader::whole(ticket, |reader| {
                    reader.expect_u16(ST_VERIFIED)?;
                    reader.u32()?;
                    reader.sized(64)
                })?;
                Some(ticket.to_vec())
            })
        })
    }

    /// Brings a policy session to what the sealed object wants. All of it is public, and if anybody changes it on its way
    /// the object does not open.
    fn fulfil(
        &mut self,
        session: &Session,
        key: &PolicyKey,
        policy: &SignedPolicy,
        state: &Digest,
        ticket: &[u8],
    ) -> Result<(), Error> {
        let session = Entity::fixed(session.handle);
        let entities = [&session];
        let parameters = Writer::new().sized(state).bytes(&selection(&policy.pcrs)?);
        self.plain(&Call::new(Command::PolicyPcr, &entities, parameters), |_| Some(()))?;
        // No reference.
        let parameters = Writer::new().sized(&policy.policy).sized(&[]).sized(&key.name()).bytes(ticket);
        self.plain(&Call::new(Command::PolicyAuthorize, &entities, parameters), |_| Some(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy key on P-256 up to its coordinates.
    const KEY: [u8; 18] = [0, 0x23, 0, 0x0b, 0, 6, 0, 0x40, 0, 0, 0, 0x10, 0, 0x10, 0, 3, 0, 0x10];

    fn sealed() -> Sealed {
        let key = PolicyKey::from_public(&[&KEY[..], &[0, 32], &[7; 32], &[0, 32], &[8; 32]].concat())
            .expect("a key");
        let head = public::sealed(&key.policy()).bytes();
        let public = [&head[..head.len() - 2], &[0, 32], &[9; 32]].concat();
        Sealed { storage: [1; 34], key, public, private: vec![2; 180] }
    }

    #[test]
    fn sealed_for_another_policy_than_its_keys_is_none() {
        let bytes = sealed().to_bytes();
        assert_eq!(Sealed::from_bytes(&bytes), Some(sealed()));
        // The key, and the policy that names it.
        for at in [70, 36 + 2 + 86 + 2 + 10] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Sealed::from_bytes(&bad), None, "{at}");
        }
        assert_eq!(Sealed::from_bytes(&bytes[..bytes.len() - 1]), None);
    }
}
