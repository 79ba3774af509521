//! Keys, quotes, certifications and credentials of a TPM that others wrote, by tools that others wrote.
#![cfg(feature = "appraise")]

mod tools;

use anyhow::Result;
use evidence::Digest;
use evidence::ek::{EkError, check_certificate};
use evidence::tpm::{
    CheckError, Hierarchy, Public, Selection, check_certification, check_quote, make_credential,
};
use std::collections::BTreeMap;
use tools::Tpm;

const NONCE: [u8; 32] = [0xa5; 32];
const PCRS: &str = "sha256:0,1,2,3,4,5,6,7,11,12,13";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Quoted {
    ak: Public,
    attest: Vec<u8>,
    signature: Vec<u8>,
    values: BTreeMap<u32, Digest>,
}

fn quoted(tpm: &Tpm) -> Result<Quoted> {
    tpm.tool(&format!("tpm2_pcrextend 13:sha256={}", hex(&[7; 32])))?;
    let nonce = hex(&NONCE);
    tpm.tool(&format!(
        "tpm2_quote -c DIR/ak.ctx -l {PCRS} -q {nonce} -m DIR/attest -s DIR/signature -o DIR/pcrs -g sha256"
    ))?;
    tpm.flush()?;
    let mut values: BTreeMap<u32, Digest> =
        Selection::DEVICE.numbers().map(|pcr| (pcr, Digest::ZERO)).collect();
    values.insert(13, Digest::ZERO.extended(&Digest([7; 32])));
    Ok(Quoted {
        ak: tpm.public("ak.pub")?,
        attest: tpm.read("attest")?,
        signature: tpm.read("signature")?,
        values,
    })
}

fn check(quoted: &Quoted) -> Result<(), CheckError> {
    let Quoted { ak, attest, signature, values } = quoted;
    check_quote(ak, attest, signature, &NONCE, Selection::DEVICE, values).map(drop)
}

#[test]
fn quote_of_a_tpm_is_taken_and_altered_ones_are_refused() -> Result<()> {
    let (tpm, other) = (Tpm::start()?, Tpm::start()?);
    tpm.keys("ecc")?;
    other.keys("rsa")?;
    let good = quoted(&tpm)?;
    assert_eq!(check(&good), Ok(()));

    let asked = |nonce: &[u8], wanted| {
        check_quote(&good.ak, &good.attest, &good.signature, nonce, wanted, &good.values)
    };
    assert_eq!(asked(&[0; 32], Selection::DEVICE), Err(CheckError::Nonce), "an old quote for a new nonce");
    assert_eq!(asked(&NONCE, Selection::of(&[0, 7])), Err(CheckError::Selection));

    let mut altered = Quoted { values: good.values.clone(), ..quoted(&tpm)? };
    altered.values.insert(13, Digest::ZERO);
    assert_eq!(check(&altered), Err(CheckError::Values));
    altered.values.remove(&13);
    assert_eq!(check(&altered), Err(CheckError::Selection));

    let foreign = Quoted { ak: other.public("ak.pub")?, ..quoted(&tpm)? };
    assert_eq!(check(&foreign), Err(CheckError::Signature), "a quote of another TPM");
    let unrestricted = Quoted { ak: tpm.public("app.pub")?, ..quoted(&tpm)? };
    assert!(matches!(check(&unrestricted), Err(CheckError::Attributes(_))), "a key that signs anything");

    for at in 0..good.attest.len() {
        let mut bytes = good.attest.clone();
        bytes[at] ^= 1;
        let flipped = check_quote(&good.ak, &bytes, &good.signature, &NONCE, Selection::DEVICE, &good.values);
        assert_eq!(flipped, Err(CheckError::Signature), "byte {at}");
    }
    Ok(())
}

#[test]
fn key_certified_by_the_attestation_key_is_taken_and_another_is_not() -> Result<()> {
    let tpm = Tpm::start()?;
    tpm.keys("rsa")?;
    let (ak, app) = (tpm.public("ak.pub")?, tpm.public("app.pub")?);
    app.check_application()?;
    assert!(ak.check_application().is_err(), "it is restricted");
    assert!(app.check_attestation().is_err() && tpm.public("ek.pub")?.check_attestation().is_err());
    // tpm2_certify takes no nonce.
    tpm.tool("tpm2_certify -c DIR/app.ctx -C DIR/ak.ctx -g sha256 -o DIR/attest -s DIR/signature")?;
    let (attest, signature) = (tpm.read("attest")?, tpm.read("signature")?);
    let nonce = evidence::tpm::Attest::read(&attest)?.nonce;
    let certified = |key, hierarchy| check_certification(&ak, &attest, &signature, &nonce, key, hierarchy);
    assert_eq!(certified(&app, Hierarchy::Owner), Ok(()));
    assert_eq!(certified(&app, Hierarchy::Endorsement), Err(CheckError::Name));
    assert_eq!(certified(&ak, Hierarchy::Owner), Err(CheckError::Name));
    let another = check_certification(&ak, &attest, &signature, &[1], &app, Hierarchy::Owner);
    assert_eq!(another, Err(CheckError::Nonce));
    let values = BTreeMap::new();
    let quote = check_quote(&ak, &attest, &signature, &nonce, Selection::of(&[]), &values);
    assert_eq!(quote.err(), Some(CheckError::Kind), "a certification is no quote");
    Ok(())
}

/// The credential goes through `tpm2_activatecredential`, and comes out only where both keys are.
fn activate(kind: &str) -> Result<()> {
    let tpm = Tpm::start()?;
    tpm.keys(kind)?;
    let (ek, ak) = (tpm.public("ek.pub")?, tpm.public("ak.pub")?);
    ek.check_endorsement()?;
    assert!(ak.check_endorsement().is_err());
    let secret = [0x5a; 32];
    let attempt = |name: &[u8]| -> Result<Vec<u8>> {
        let made = make_credential(&ek, name, &secret, &ring::rand::SystemRandom::new())?;
        // What tpm2-tools have in a file: a magic, a version, and both.
        let file =
            [&0xbadc_c0de_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), &made.blob, &made.encrypted_secret];
        std::fs::write(tpm.path("credential"), file.concat())?;
        tpm.tool("tpm2_startauthsession --policy-session -S DIR/session")?;
        tpm.tool("tpm2_policysecret -S DIR/session -c e")?;
        let opened = tpm.tool(
            "tpm2_activatecredential -c DIR/ak.ctx -C DIR/ek.ctx -i DIR/credential -o DIR/secret -P session:DIR/session",
        );
        tpm.tool("tpm2_flushcontext DIR/session")?;
        tpm.flush()?;
        opened?;
        tpm.read("secret")
    };
    assert_eq!(attempt(&ak.name())?, secret);
    assert!(attempt(&tpm.public("app.pub")?.name()).is_err(), "for another key");
    Ok(())
}

#[test]
fn credential_for_an_rsa_key_is_opened_by_its_tpm() -> Result<()> {
    activate("rsa")
}

#[test]
fn credential_for_an_ecc_key_is_opened_by_its_tpm() -> Result<()> {
    activate("ecc")
}

#[test]
fn certificate_of_the_maker_is_taken_for_its_key_and_its_root_alone() -> Result<()> {
    let (tpm, other) = (Tpm::start()?, Tpm::start()?);
    let der = |from: &Tpm, name: &str| -> Result<Vec<u8>> {
        from.tool(&format!("openssl x509 -in DIR/ca/{name}.pem -outform DER -out DIR/{name}.der"))?;
        from.read(&format!("{name}.der"))
    };
    tpm.tool("tpm2_createek -G rsa -c DIR/ek.ctx -u DIR/ek.pub")?;
    tpm.tool("tpm2_nvread -C o 0x1c00002 -o DIR/ek.der")?;
    let (ek, certificate) = (tpm.public("ek.pub")?, tpm.read("ek.der")?);
    let (root, issuer) = (der(&tpm, "swtpm-localca-rootca-cert")?, der(&tpm, "issuer")?);
    let (roots, between) = ([root], [issuer]);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs() + 60;
    let check = |certificate: &[u8], ek, roots: &[Vec<u8>], at| {
        check_certificate(certificate, ek, &between, roots, at)
    };
    check(&certificate, &ek, &roots, now)?;
    assert!(matches!(check(&certificate, &ek, &[], now), Err(EkError::Chain(_))));
    assert!(matches!(check(&certificate, &ek, &roots, 0), Err(EkError::Chain(_))), "before it was made");
    let foreign = [der(&other, "swtpm-localca-rootca-cert")?];
    assert!(matches!(check(&certificate, &ek, &foreign, now), Err(EkError::Chain(_))), "another maker's");
    other.tool("tpm2_createek -G rsa -c DIR/ek.ctx -u DIR/ek.pub")?;
    let foreign = other.public("ek.pub")?;
    assert!(matches!(check(&certificate, &foreign, &roots, now), Err(EkError::Key)));
    assert!(matches!(check(&roots[0], &ek, &roots, now), Err(EkError::Key)));
    assert!(matches!(check(b"0", &ek, &roots, now), Err(EkError::Certificate)));
    Ok(())
}
