//! Understands TPMs: what `verifier` asks for, by `gabion-evidence`.
//!
//! An enrolment counts if the maker of the TPM vouches for the endorsement key and both keys are of their kinds. Evidence
//! is a device's own if its attestation key quoted the nonce of this round; whatever is wrong with it then is a verdict, not
//! an error. A request counts if the attestation key certifies, over the same nonce, that the key is this TPM's, and
//! the key itself has signed the request: one that was copied from another device fails the first, one that asks for
//! somebody else's key the second. What the request asks to be called is not read: names follow from who asks.

mod csr;
mod makers;
mod request;

pub use makers::{Makers, MakersError};

use crate::clock::Clock;
use crate::verifier::{Appraisal, Credential, Question, TpmKey, Verifier};
use evidence::Digest;
use evidence::appraise::{self, Policy};
use evidence::ear;
use evidence::reference::ReferenceValues;
use evidence::tpm::{Public, Selection, check_quote, make_credential};
use ring::rand::SystemRandom;
use service_api::device::{Evidence, NewEnrolment};
use service_api::fleet::{GroupPolicy, NewRelease};
use service_api::records::Measurement;
use service_api::{DeviceId, Name};
use std::collections::{BTreeMap, BTreeSet};

type Reasons = Vec<String>;

/// The verifier of devices with TPMs.
#[derive(Debug)]
pub struct TpmVerifier {
    makers: Makers,
    clock: Clock,
    random: SystemRandom,
}

impl TpmVerifier {
    /// One that believes these makers of TPMs. The time is for their certificates.
    #[must_use]
    pub fn new(makers: Makers, clock: Clock) -> Self {
        Self { makers, clock, random: SystemRandom::new() }
    }
}

impl Verifier for TpmVerifier {
    fn challenge(&self, enrolment: &NewEnrolment, secret: &[u8; 32]) -> Result<Credential, Reasons> {
        let ek = public("endorsement key", enrolment.ek_public.as_slice())?;
        let ak = public("attestation key", enrolment.ak_public.as_slice())?;
        ek.check_endorsement().map_err(reason)?;
        ak.check_attestation().map_err(reason)?;
        let certificate = enrolment.ek_certificate.as_ref().map(|certificate| certificate.as_slice());
        self.makers.check(certificate, &ek, self.clock.now()).map_err(|why| vec![why])?;
        let made = make_credential(&ek, &ak.name(), secret, &self.random).map_err(reason)?;
        let device: DeviceId = ek.digest().to_string().try_into().map_err(reason)?;
        Ok(Credential { device, blob: made.blob, encrypted_secret: made.encrypted_secret })
    }

    fn check_release(&self, release: &NewRelease) -> Result<(), Reasons> {
        let text = serde_json::to_vec(&release.reference_values).map_err(reason)?;
        ReferenceValues::read(&text).map(drop).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            std::iter::once(error.to_string()).chain(cause).collect()
        })
    }

    fn appraise(&self, question: Question<'_>) -> Result<Appraisal, Reasons> {
        let Evidence { nonce, quote, signature, boot_log, package_log, requests, .. } = question.evidence;
        let ak = public("attestation key", question.ak_public)?;
        let (nonce, pcrs) = (nonce.as_slice(), pcrs(question.evidence)?);
        let (quote, signature) = (quote.as_slice(), signature.as_slice());
        let quoted = check_quote(&ak, quote, signature, nonce, Selection::DEVICE, &pcrs).map_err(reason)?;
        let clock = quoted.clock;
        let shown = appraise::Evidence {
            values: &pcrs,
            boot_log: boot_log.as_slice(),
            package_log: package_log.as_slice(),
        };
        let mut verdict = appraise::appraise(shown, question.releases, &policy(question.policy));
        if let Some(last) = question.last_clock {
            verdict.compare_clock(last, &clock);
        }
        let keys: Vec<TpmKey> = if verdict.passes() {
            requests.iter().map(|asked| request::check(&ak, nonce, asked)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        let ear = self.ear(&verdict, question)?;
        Ok(Appraisal {
            passed: verdict.passes(),
            release: verdict.release.clone().and_then(|name| Name::try_from(name).ok()),
            measurements: verdict.measurements.into_iter().map(measurement).collect(),
            reasons: verdict.reasons,
            clock,
            keys,
            ear,
        })
    }
}

impl TpmVerifier {
    fn ear(&self, verdict: &appraise::Appraisal, question: Question<'_>) -> Result<String, Reasons> {
        let device: Option<Digest> =
            crate::secrets::unhex(question.evidence.device.as_str()).and_then(|id| Digest::from_slice(&id));
        let context = ear::Context {
            issued_at: question.at,
            device: &device.ok_or_else(|| reason("the device's id is no digest"))?,
            nonce: question.evidence.nonce.as_slice(),
            policy: question.policy_name,
            build: env!("CARGO_PKG_VERSION"),
        };
        let signer = question.signer;
        ear::sign(verdict, &context, &signer.key, &signer.key_id, &self.random).map_err(reason)
    }
}

fn reason(error: impl std::fmt::Display) -> Reasons {
    vec![error.to_string()]
}

fn public(what: &str, raw: &[u8]) -> Result<Public, Reasons> {
    Public::read(raw).map_err(|error| vec![format!("the {what} {error}")])
}

fn pcrs(evidence: &Evidence) -> Result<BTreeMap<u32, Digest>, Reasons> {
    let value = |(pcr, value): (&service_api::device::Pcr, &service_api::Bytes<32>)| {
        let digest = Digest::from_slice(value.as_slice()).ok_or("a PCR value has not 32 bytes")?;
        Ok((u32::from(pcr.index()), digest))
    };
    evidence.pcrs.iter().map(value).collect::<Result<_, &str>>().map_err(reason)
}

fn policy(group: &GroupPolicy) -> Policy {
    let releases: BTreeSet<String> = group.releases.iter().map(ToString::to_string).collect();
    Policy {
        releases,
        version_min: group.version_min.as_ref().map(ToString::to_string),
        secure_boot: group.secure_boot,
        debug: group.debug,
        known_packages: group.known_packages,
    }
}

fn measurement(measured: appraise::Measurement) -> Measurement {
    let appraise::Measurement { name, expected, seen, passed } = measured;
    Measurement { name, expected, seen, passed }
}
