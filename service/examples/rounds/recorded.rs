//! A verifier of recorded evidence, which does all the work that evidence makes.
//!
//! The recorded quote has its own nonce, so what looks at evidence is given that one; the service's own check of its nonces is
//! done too. The certification and the request of the one key were not recorded: in their place two signatures are checked.

use anyhow::{Context as _, Result};
use evidence::Digest;
use evidence::packages::Package;
use rcgen::PublicKeyData as _;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use service::attest::{Makers, TpmVerifier};
use service::clock::Clock;
use service::secrets;
use service::verifier::{Appraisal, Credential, Question, TpmKey, Verifier};
use service_api::Bytes;
use service_api::device::{CertificateSubject, Evidence, NewEnrolment, Pcr};
use service_api::fleet::NewRelease;
use std::collections::BTreeMap;
use std::sync::Arc;

const MESSAGE: &[u8] =
    b"what a request has to say, about as long as one of them really is, and signed by its key";
/// The attestation key of the recorded boot, its length before it.
pub(crate) const AK: &[u8] = include_bytes!("../../../attestd/evidence/tests/data/ak.pub");

/// A key, and a signature by it to be checked.
pub(crate) struct Signed {
    key: EcdsaKeyPair,
    signature: Vec<u8>,
}

impl Signed {
    pub(crate) fn new() -> Result<Self> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        let made = made.ok().context("a key")?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref(), &random);
        let key = key.ok().context("a key")?;
        let signature = key.sign(&random, MESSAGE).ok().context("a signature")?.as_ref().to_vec();
        Ok(Self { key, signature })
    }

    pub(crate) fn check(&self) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.key.public_key().as_ref());
        key.verify(MESSAGE, &self.signature).is_ok()
    }

    pub(crate) fn sign(&self) -> bool {
        self.key.sign(&SystemRandom::new(), MESSAGE).is_ok()
    }
}

/// The real one, over the recorded evidence.
pub(crate) struct Recorded {
    real: TpmVerifier,
    evidence: Evidence,
    ak: Vec<u8>,
    signed: Arc<Signed>,
    key: Vec<u8>,
}

impl Recorded {
    pub(crate) fn new(signed: Arc<Signed>) -> Result<Self> {
        Ok(Self {
            real: TpmVerifier::new(Makers::Anybody, Clock::System),
            evidence: recorded()?,
            ak: AK.get(2..).context("a key")?.to_vec(),
            signed,
            key: rcgen::KeyPair::generate()?.subject_public_key_info(),
        })
    }
}

impl Verifier for Recorded {
    fn challenge(&self, new: &NewEnrolment, secret: &[u8; 32]) -> Result<Credential, Vec<String>> {
        let device = secrets::sha256(new.ek_public.as_slice()).parse().map_err(|_| Vec::new())?;
        Ok(Credential { device, blob: secret.to_vec(), encrypted_secret: Vec::new() })
    }

    fn check_release(&self, release: &NewRelease) -> Result<(), Vec<String>> {
        self.real.check_release(release)
    }

    fn appraise(&self, question: Question<'_>) -> Result<Appraisal, Vec<String>> {
        let question = Question { evidence: &self.evidence, ak_public: &self.ak, ..question };
        let mut appraisal = self.real.appraise(question)?;
        // The certification and the request, which were not recorded.
        if !self.signed.check() || !self.signed.check() {
            return Err(vec!["a signature does not hold".to_owned()]);
        }
        appraisal.keys = vec![TpmKey { subject: CertificateSubject::Device, public_key: self.key.clone() }];
        Ok(appraisal)
    }
}

/// Of the one package that was measured in that boot.
fn package_log() -> String {
    let (manifest, root) = (Digest::of(b"manifest"), Some(Digest::of(b"root")));
    let pump = Package { app: "org.example.pump".to_owned(), manifest, root, version: "1.4.0".to_owned() };
    pump.record(0).unwrap_or_default() + "\n"
}

pub(crate) fn recorded() -> Result<Evidence> {
    let text = include_str!("../../../attestd/evidence/tests/data/pcrs");
    let value = |line: &str| {
        let (number, value) = line.split_once(' ').context("a PCR")?;
        let pcr = Pcr::new(number.parse()?).context("a PCR")?;
        Ok((pcr, secrets::unhex(&value.to_ascii_lowercase()).and_then(Bytes::new).context("a value")?))
    };
    let pcrs: BTreeMap<Pcr, Bytes<32>> = text.lines().map(value).collect::<Result<_>>()?;
    let long = "recorded evidence";
    Ok(Evidence {
        device: "0".repeat(64).parse()?,
        nonce: Bytes::new([0xa5; 32]).context(long)?,
        quote: Bytes::new(*include_bytes!("../../../attestd/evidence/tests/data/quote")).context(long)?,
        signature: Bytes::new(*include_bytes!("../../../attestd/evidence/tests/data/signature"))
            .context(long)?,
        pcrs,
        boot_log: Bytes::new(*include_bytes!("../../../attestd/evidence/tests/data/boot.log"))
            .context(long)?,
        package_log: Bytes::new(package_log().as_bytes()).context(long)?,
        requests: service_api::Few::default(),
    })
}
