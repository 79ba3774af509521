//! A TPM that others wrote (swtpm), driven by tools that others wrote, enrols and shows the boot of the reference board.

#[path = "../../attestd/evidence/tests/tools/mod.rs"]
mod tools;

use anyhow::{Context, Result};
use evidence::appraise::Published;
use evidence::bootlog::BootLog;
use evidence::reference::ReferenceValues;
use evidence::tpm::{Clock as TpmClock, KeyKind, Selection};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use service::attest::{Makers, TpmVerifier};
use service::ca::AuthorityFile;
use service::clock::Clock;
use service::verifier::{Appraisal, Question, Verifier};
use service_api::device::{CertificateRequest, CertificateSubject, Evidence, NewEnrolment, Pcr};
use service_api::fleet::{GroupPolicy, NewRelease, Release};
use service_api::{Bytes, Few};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use tools::Tpm;

const BOOT_LOG: &[u8] = include_bytes!("../../attestd/evidence/tests/data/boot.log");
const REFERENCE: &[u8] = include_bytes!("../../attestd/evidence/tests/data/reference.json");
/// What tpm2_certify, which takes no nonce, has for one.
const NONCE: [u8; 4] = [0x00, 0xff, 0x55, 0xaa];

fn bytes<const MAX: usize>(of: &[u8]) -> Result<Bytes<MAX>> {
    Bytes::new(of).context("too long")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A board: its TPM has been through the boot of the log.
struct Board {
    tpm: Tpm,
    values: BTreeMap<u32, evidence::Digest>,
}

impl Board {
    fn booted() -> Result<Self> {
        let tpm = Tpm::start()?;
        tpm.keys("rsa")?;
        tpm.tool("tpm2_nvread -C o 0x1c00002 -o DIR/ek.der")?;
        let log = BootLog::read(BOOT_LOG)?;
        let extended = log.events.iter().filter(|event| event.extends());
        let words: Vec<String> =
            extended.map(|event| format!("{}:sha256={}", event.pcr, event.digest)).collect();
        tpm.tool(&format!("tpm2_pcrextend {}", words.join(" ")))?;
        let mut values = log.replay();
        values.retain(|pcr, _| Selection::DEVICE.has(*pcr));
        Ok(Self { tpm, values })
    }

    fn makers(&self) -> Result<Makers> {
        Ok(Makers::read(&self.tpm.read("ca/issuer.pem")?)?)
    }

    fn raw(&self, key: &str) -> Result<Vec<u8>> {
        Ok(self.tpm.public(key)?.raw().to_vec())
    }

    fn enrolment(&self) -> Result<NewEnrolment> {
        Ok(NewEnrolment {
            ek_certificate: Some(bytes(&self.tpm.read("ek.der")?)?),
            ek_public: bytes(&self.raw("ek.pub")?)?,
            ak_public: bytes(&self.raw("ak.pub")?)?,
        })
    }

    fn evidence(&self, requests: Vec<CertificateRequest>) -> Result<Evidence> {
        self.tpm.tool(&format!(
            "tpm2_quote -c DIR/ak.ctx -l sha256:0,1,2,3,4,5,6,7,11,12,13 -q {} -m DIR/quote -s DIR/quote.signature -g sha256",
            hex(&NONCE)
        ))?;
        self.tpm.flush()?;
        let pcr = |(number, value): (&u32, &evidence::Digest)| {
            Ok((u8::try_from(*number).ok().and_then(Pcr::new).context("no PCR")?, bytes(&value.0)?))
        };
        Ok(Evidence {
            device: self.tpm.public("ek.pub")?.digest().to_string().parse()?,
            nonce: bytes(&NONCE)?,
            quote: bytes(&self.tpm.read("quote")?)?,
            signature: bytes(&self.tpm.read("quote.signature")?)?,
            pcrs: self.values.iter().map(pcr).collect::<Result<_>>()?,
            boot_log: bytes(BOOT_LOG)?,
            package_log: bytes(&[])?,
            requests: Few::new(requests).context("too many")?,
        })
    }

    /// A request for the app's key, certified by the attestation key, signed by whoever signs.
    fn request(&self, signer: &impl SigningKey) -> Result<CertificateRequest> {
        self.tpm.tool(
            "tpm2_certify -c DIR/app.ctx -C DIR/ak.ctx -g sha256 -o DIR/attest -s DIR/attest.signature",
        )?;
        self.tpm.flush()?;
        let params = rcgen::CertificateParams::new(Vec::<String>::new())?;
        Ok(CertificateRequest {
            subject: CertificateSubject::Device,
            csr: bytes(params.serialize_request(signer)?.der())?,
            key_public: bytes(&self.raw("app.pub")?)?,
            certify: bytes(&self.tpm.read("attest")?)?,
            certify_signature: bytes(&self.tpm.read("attest.signature")?)?,
        })
    }

    fn key(&self) -> Result<InTpm<'_>> {
        let KeyKind::P256 { x, y } = self.tpm.public("app.pub")?.key else {
            anyhow::bail!("another kind of key")
        };
        Ok(InTpm { tpm: &self.tpm, point: [&[4][..], &x, &y].concat() })
    }
}

/// The app's key, which only the TPM has.
struct InTpm<'a> {
    tpm: &'a Tpm,
    point: Vec<u8>,
}

impl PublicKeyData for InTpm<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for InTpm<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let made = || -> Result<Vec<u8>> {
            std::fs::write(self.tpm.path("message"), message)?;
            self.tpm
                .tool("tpm2_sign -c DIR/app.ctx -g sha256 -s ecdsa -f plain -o DIR/signature DIR/message")?;
            self.tpm.flush()?;
            self.tpm.read("signature")
        };
        made().map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

fn release(change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) -> Result<Release> {
    let mut reference_values = serde_json::from_slice(REFERENCE)?;
    change(&mut reference_values);
    Ok(Release { name: "gabion-0.1.0".parse()?, published: 0, withdrawn: false, reference_values })
}

fn published(release: &Release) -> Result<Published> {
    let values = ReferenceValues::read(&serde_json::to_vec(&release.reference_values)?)?;
    Ok(Published { name: release.name.to_string(), withdrawn: release.withdrawn, values: Arc::new(values) })
}

fn asked(
    verifier: &TpmVerifier,
    ak: &[u8],
    evidence: &Evidence,
    releases: &[Published],
) -> Result<Appraisal, Vec<String>> {
    asked_by(verifier, ak, evidence, releases, &GroupPolicy::default(), None)
}

fn asked_by(
    verifier: &TpmVerifier,
    ak: &[u8],
    evidence: &Evidence,
    releases: &[Published],
    policy: &GroupPolicy,
    last_clock: Option<&TpmClock>,
) -> Result<Appraisal, Vec<String>> {
    let names = ["localhost".to_owned()];
    let file =
        AuthorityFile::make(&names, "passphrase", NonZeroU32::MIN, 0).map_err(|why| vec![why.to_string()])?;
    let authority = file.open("passphrase").map_err(|why| vec![why.to_string()])?;
    verifier.appraise(Question {
        evidence,
        ak_public: ak,
        policy,
        policy_name: "one/pump/field",
        releases,
        last_clock,
        at: 1,
        signer: authority.verdict_signer(),
    })
}

#[test]
fn device_of_a_known_maker_is_challenged_and_opens_it_and_another_is_not() -> Result<()> {
    let (board, other) = (Board::booted()?, Tpm::start()?);
    let verifier = TpmVerifier::new(board.makers()?, Clock::System);
    let made = verifier.challenge(&board.enrolment()?, &[7; 32]).map_err(|why| anyhow::anyhow!("{why:?}"))?;
    assert_eq!(made.device.as_str(), board.tpm.public("ek.pub")?.digest().to_string());
    let file = [&0xbadc_c0de_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), &made.blob, &made.encrypted_secret];
    std::fs::write(board.tpm.path("credential"), file.concat())?;
    board.tpm.tool("tpm2_startauthsession --policy-session -S DIR/session")?;
    board.tpm.tool("tpm2_policysecret -S DIR/session -c e")?;
    board.tpm.tool(
        "tpm2_activatecredential -c DIR/ak.ctx -C DIR/ek.ctx -i DIR/credential -o DIR/secret -P session:DIR/session",
    )?;
    assert_eq!(board.tpm.read("secret")?, [7; 32]);

    let refused =
        |verifier: &TpmVerifier, enrolment: &NewEnrolment| verifier.challenge(enrolment, &[7; 32]).err();
    let without = NewEnrolment { ek_certificate: None, ..board.enrolment()? };
    let said = refused(&verifier, &without).context("taken")?;
    assert_eq!(said, ["the TPM has no certificate of its maker"]);
    let strangers = Makers::read(&other.read("ca/issuer.pem")?)?;
    assert!(refused(&TpmVerifier::new(strangers, Clock::System), &board.enrolment()?).is_some());
    assert!(refused(&TpmVerifier::new(Makers::Anybody, Clock::System), &without).is_none());
    let swapped = NewEnrolment { ek_public: without.ak_public.clone(), ..without };
    assert!(refused(&verifier, &swapped).is_some());
    Ok(())
}

#[test]
fn evidence_of_the_boot_with_the_tpms_own_key_is_certified_and_whatever_differs_is_not() -> Result<()> {
    let board = Board::booted()?;
    let verifier = TpmVerifier::new(Makers::Anybody, Clock::System);
    let (ak, key) = (board.raw("ak.pub")?, board.key()?);
    let evidence = board.evidence(vec![board.request(&key)?])?;
    let good = [published(&release(|_| {})?)?];
    let verdict = asked(&verifier, &ak, &evidence, &good).map_err(|why| anyhow::anyhow!("{why:?}"))?;
    assert!(verdict.passed, "{:?}", verdict.reasons);
    assert_eq!(verdict.release.as_ref().map(service_api::Name::as_str), Some("gabion-0.1.0"));
    assert_eq!(verdict.keys.len(), 1);
    assert_eq!(verdict.keys[0].public_key, board.tpm.public("app.pub")?.subject_public_key_info());

    let refused =
        |evidence: &Evidence| asked(&verifier, &ak, evidence, &good).err().unwrap_or_default().join("; ");
    let stale = Evidence { nonce: bytes(&[1; 32])?, ..evidence.clone() };
    assert!(refused(&stale).contains("another nonce"), "{}", refused(&stale));
    let software = rcgen::KeyPair::generate()?;
    let foreign = Evidence { requests: one(board.request(&software)?)?, ..evidence.clone() };
    assert!(refused(&foreign).contains("signed by another key"), "{}", refused(&foreign));
    let mut request = board.request(&key)?;
    request.key_public = bytes(&board.raw("ak.pub")?)?;
    let restricted = Evidence { requests: one(request)?, ..evidence.clone() };
    assert!(refused(&restricted).contains("other attributes"), "{}", refused(&restricted));

    let debug =
        published(&release(|values| drop(values.insert("audience".to_owned(), "developers".into())))?)?;
    let verdict = asked(&verifier, &ak, &evidence, &[debug]).map_err(|why| anyhow::anyhow!("{why:?}"))?;
    assert!(!verdict.passed && verdict.keys.is_empty());
    assert!(
        verdict.reasons.iter().any(|why| why.contains("a build for developers")),
        "{:?}",
        verdict.reasons
    );
    Ok(())
}

#[test]
fn policy_with_a_newer_version_and_counts_that_went_back_are_reasons() -> Result<()> {
    let board = Board::booted()?;
    let verifier = TpmVerifier::new(Makers::Anybody, Clock::System);
    let (ak, evidence, good) =
        (board.raw("ak.pub")?, board.evidence(Vec::new())?, [published(&release(|_| {})?)?]);
    let asked = |policy: &GroupPolicy, last: Option<&TpmClock>| {
        let verdict = asked_by(&verifier, &ak, &evidence, &good, policy, last);
        verdict.map_err(|why| anyhow::anyhow!("{why:?}"))
    };
    let policy = |min: &str| -> Result<GroupPolicy> {
        Ok(GroupPolicy { version_min: Some(min.parse()?), known_packages: true, ..GroupPolicy::default() })
    };
    let first = asked(&policy("0.1")?, None)?;
    assert!(first.passed, "{:?}", first.reasons);
    let newer = asked(&policy("0.1.1")?, None)?;
    assert!(!newer.passed && newer.reasons.iter().any(|why| why.contains("older than 0.1.1")), "{newer:?}");

    let clock = first.clock;
    assert!(clock.clock_ms > 0, "swtpm counts");
    assert!(asked(&GroupPolicy::default(), Some(&clock))?.passed);
    let later = TpmClock { resets: clock.resets + 1, restarts: 0, ..clock };
    let back = asked(&GroupPolicy::default(), Some(&later))?;
    assert!(!back.passed && back.reasons.iter().any(|why| why.contains("resets went back")), "{back:?}");
    let later = TpmClock { clock_ms: clock.clock_ms + 1, ..clock };
    let back = asked(&GroupPolicy::default(), Some(&later))?;
    assert!(!back.passed && back.reasons.iter().any(|why| why.contains("clock went back")), "{back:?}");
    Ok(())
}

fn one(request: CertificateRequest) -> Result<Few<CertificateRequest, 65>> {
    Few::new(vec![request]).context("too many")
}

#[test]
fn release_is_taken_if_its_reference_values_can_be_read() -> Result<()> {
    let verifier = TpmVerifier::new(Makers::Anybody, Clock::System);
    let new = |values: Release| NewRelease { name: values.name, reference_values: values.reference_values };
    assert_eq!(verifier.check_release(&new(release(|_| {})?)), Ok(()));
    let without = release(|values| drop(values.remove("pcrs")))?;
    let why = verifier.check_release(&new(without)).err().unwrap_or_default();
    assert!(why.iter().any(|reason| reason.contains("pcrs")), "{why:?}");
    Ok(())
}
