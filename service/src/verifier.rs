//! What the service asks of whoever understands TPMs: a challenge for an enrolment, a verdict on evidence.
//!
//! The verifier has no state and no network: what it is given decides, and for the makers' certificates the time. It runs on bytes that anybody sent, so it
//! may refuse and must never panic. That a nonce is ours, fresh and unused, that the device is known, owned and not revoked,
//! is settled before it is asked, or when its verdict is noted.

use crate::ca::VerdictSigner;
use evidence::appraise::Published;
use evidence::tpm::Clock;
use service_api::device::{CertificateSubject, Evidence, NewEnrolment};
use service_api::fleet::{GroupPolicy, NewRelease};
use service_api::records::Measurement;
use service_api::{DeviceId, Name};

/// A challenge that only the TPM with both keys can answer.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The device that the endorsement key makes.
    pub device: DeviceId,
    /// `TPM2B_ID_OBJECT`.
    pub blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Vec<u8>,
}

/// Evidence with all it is to be held against.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the device sent.
    pub evidence: &'a Evidence,
    /// The attestation key it enrolled with (`TPMT_PUBLIC`).
    pub ak_public: &'a [u8],
    /// What its group's devices must be.
    pub policy: &'a GroupPolicy,
    /// What the policy is called: `CATALOG/PRODUCT/GROUP`.
    pub policy_name: &'a str,
    /// The catalog's releases, those that are withdrawn or that the policy does not name too.
    pub releases: &'a [Published],
    /// What its TPM said of its resets and its clock when it last passed.
    pub last_clock: Option<&'a Clock>,
    /// Now, in seconds since 1970.
    pub at: u64,
    /// Signs the verdict.
    pub signer: &'a VerdictSigner,
}

/// What was made of evidence that is the device's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    /// Whether it may have certificates.
    pub passed: bool,
    /// Why not; or what was noticed.
    pub reasons: Vec<String>,
    /// What its TPM says of its resets and its clock now.
    pub clock: Clock,
    /// The release that was recognised.
    pub release: Option<Name>,
    /// Each thing that was measured.
    pub measurements: Vec<Measurement>,
    /// Keys that are the TPM's, as the requests asked; empty unless it passed. A request that does not hold is a reason
    /// and fails the whole.
    pub keys: Vec<TpmKey>,
    /// The verdict for programs: an EAT attestation result, signed.
    pub ear: String,
}

/// A key that the attestation key vouches for, and whose owner asked for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmKey {
    /// Whose certificate.
    pub subject: CertificateSubject,
    /// `SubjectPublicKeyInfo`, DER.
    pub public_key: Vec<u8>,
}

/// Understands TPMs.
pub trait Verifier: Send + Sync + 'static {
    /// Protects `secret` for the TPM of an enrolment.
    ///
    /// # Errors
    /// Why these keys are not a TPM's, or not of the kinds that are taken.
    fn challenge(&self, enrolment: &NewEnrolment, secret: &[u8; 32]) -> Result<Credential, Vec<String>>;

    /// Whether a release's reference values can be read.
    ///
    /// # Errors
    /// What is wrong with them.
    fn check_release(&self, release: &NewRelease) -> Result<(), Vec<String>>;

    /// Looks at evidence.
    ///
    /// # Errors
    /// Why it is not even this device's over this nonce. Nothing of it is kept then.
    fn appraise(&self, question: Question<'_>) -> Result<Appraisal, Vec<String>>;
}
