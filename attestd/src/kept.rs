//! What sandboxd keeps for us across restarts, as JSON: who the service says we are, and the certificates of today.
//!
//! It was on a disk that somebody may have had: the keys are not in it, and a certificate of somebody else's is of no use
//! without his key. What is not understood is as if it were not there: the device enrols again.

use evidence::Digest;
use permit::Book;
use serde::{Deserialize, Serialize};
use service_api::device::CertificateSubject;
use service_api::{Bytes, Code, DeviceId};

/// Longest certificate or list that is kept, bytes.
const DER_MAX: usize = 64 << 10;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The service that the rest is of, `HOST:PORT/tcp`.
    pub service: String,
    /// Who we are to it.
    pub device: Option<DeviceId>,
    /// What an owner needs to claim us, while nobody has.
    #[serde(default)]
    pub claim_code: Option<Code>,
    /// The name of the TPM's storage root key without its algorithm: another TPM is another device.
    pub storage_key: Option<Digest>,
    /// The certificates.
    pub certificates: Vec<Held>,
    /// The catalog's authority, as a root of its own, DER.
    pub authorities: Vec<Bytes<DER_MAX>>,
    /// What that authority revoked, DER.
    pub revoked: Option<Bytes<DER_MAX>>,
    /// The permit of a developer, and what is remembered of those before.
    #[serde(default)]
    pub permits: Book,
}

/// A certificate that we have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Whose.
    pub subject: CertificateSubject,
    /// Of which installation; 0 for the device's own.
    pub uid: u32,
    /// DER, its own first.
    pub chain: Vec<Bytes<4096>>,
    /// When it ends, seconds since 1970-01-01 UTC.
    pub expires_s: u64,
}

impl Kept {
    /// Reads what [`Kept::bytes`] made.
    pub fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// What of it holds for this service: of another's, only that the storage root key is the board's.
    pub fn of_service(self, service: &str) -> Self {
        if self.service == service {
            return self;
        }
        Self { service: service.to_owned(), storage_key: self.storage_key, ..Self::default() }
    }

    /// As it is kept.
    pub fn bytes(&self) -> Vec<u8> {
        // Nothing in it can fail to be JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The certificate of this installation, if it has one that lasts beyond `now_s`.
    pub fn certificate(&self, id: &str, uid: u32, now_s: u64) -> Option<&Held> {
        let is = |held: &&Held| held.subject.as_str() == id && held.uid == uid && held.expires_s > now_s;
        self.certificates.iter().find(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_comes_back_for_the_same_service_only() {
        let held = Held {
            subject: CertificateSubject::try_from("com.example.a".to_owned()).unwrap(),
            uid: 10_000,
            chain: vec![Bytes::new(*b"der").unwrap()],
            expires_s: 100,
        };
        let kept = Kept {
            service: "a.example:443/tcp".to_owned(),
            storage_key: Some(Digest::of(b"srk")),
            certificates: vec![held],
            ..Kept::default()
        };
        let bytes = kept.bytes();
        assert_eq!(Kept::read(&bytes).of_service("a.example:443/tcp"), kept);
        let other = Kept::read(&bytes).of_service("b.example:443/tcp");
        assert!(other.certificates.is_empty() && other.storage_key == kept.storage_key);
        assert!(Kept::read(b"nonsense").certificates.is_empty());
        assert!(kept.certificate("com.example.a", 10_000, 99).is_some());
        assert!(kept.certificate("com.example.a", 10_000, 100).is_none());
        assert!(kept.certificate("com.example.a", 10_001, 99).is_none());
    }
}
