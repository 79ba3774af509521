//! A verdict as the Security Service signs it, checked by the Python package `jwt`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Output, Stdio};

use anyhow::{Context, Result};
use conformance::python;
use evidence::appraise::{Evidence, Policy, appraise};
use evidence::{Digest, ear};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

fn key(random: &SystemRandom) -> Result<EcdsaKeyPair> {
    let made =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random).ok().context("no key")?;
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), random).ok().context("no key")
}

fn judged(token: &str, key: &EcdsaKeyPair) -> Result<Output> {
    let point: String = key.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut python = python::with_jwt()?;
    python.arg(python::scripts().join("verdict.py")).arg(point);
    let mut judge = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    judge.stdin.take().context("no input")?.write_all(token.as_bytes())?;
    Ok(judge.wait_with_output()?)
}

#[test]
fn verdict_signed_is_read_by_another_library_and_refused_for_another_key() -> Result<()> {
    let random = SystemRandom::new();
    let (own, other) = (key(&random)?, key(&random)?);
    let values = BTreeMap::new();
    let shown = Evidence { values: &values, boot_log: &[], package_log: &[] };
    let verdict = appraise(shown, &[], &Policy::default());
    let context = ear::Context {
        issued_at: 1_700_000_000,
        device: &Digest::ZERO,
        nonce: &[7; 32],
        policy: "group",
        build: "test",
    };
    let token = ear::sign(&verdict, &context, &own, "key", &random)?;
    let output = judged(&token, &own)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let claims: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(claims, ear::verify(&token, own.public_key().as_ref())?);
    assert_eq!(claims["eat_profile"], ear::PROFILE);
    assert_eq!(claims["submods"]["device"]["ear_status"], "contraindicated");
    let refused = judged(&token, &other)?;
    assert_eq!((refused.status.code(), refused.stderr.as_slice()), (Some(1), &b"signature\n"[..]));
    Ok(())
}
