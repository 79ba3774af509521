//! Every operation on a real software TPM, judged by tpm2-tools and OpenSSL.

mod swtpm;

use anyhow::{Context, Result};
use swtpm::{Swtpm, spki};
use tpm::KeyId;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}

fn app(generation: u64) -> KeyId {
    KeyId::new("com.example.a", generation)
}

#[test]
fn quote_satisfies_checkquote_and_no_other_nonce_does() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let mut tpm = swtpm.open()?;
    tpm.extend(13, &sha256(b"an app"))?;
    let ak = tpm.ak()?;
    let quoted = tpm.quote(&[0xab; 32], &[0, 7, 11, 13])?;
    drop(tpm.close()?);
    swtpm.write("ak.der", &spki(ak.public.point().context("a point")?))?;
    swtpm.run("openssl pkey -pubin -inform DER -in ak.der -out ak.pem")?;
    swtpm.write("quote", &quoted.attest)?;
    swtpm.write("signature", &quoted.signature)?;
    swtpm.run("tpm2_pcrread sha256:0,7,11,13 -o pcrs")?;
    let check = |nonce: &str| {
        swtpm.run(&format!(
            "tpm2_checkquote -u ak.pem -m quote -s signature -f pcrs -l sha256:0,7,11,13 -g sha256 -q {nonce}"
        ))
    };
    check(&"ab".repeat(32))?;
    assert!(check(&"ac".repeat(32)).is_err());
    Ok(())
}

#[test]
fn signature_verifies_and_each_generation_has_its_own_key() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let mut tpm = swtpm.open()?;
    let (first, second) = (tpm.app_key(app(1))?, tpm.app_key(app(2))?);
    assert_ne!(first.name, second.name);
    assert_ne!(first.name, tpm.app_key(KeyId::new("com.example.b", 1))?.name);
    assert_eq!(first, tpm.app_key(app(1))?);
    swtpm.write("message", b"what is signed")?;
    for (name, key) in [("first.der", first), ("second.der", second)] {
        swtpm.write(name, &spki(key.public.point().context("a point")?))?;
    }
    for _ in 0..8 {
        swtpm.write("signature", &tpm.sign(app(1), &sha256(b"what is signed"))?)?;
        let verify = |key: &str| {
            swtpm
                .run(&format!("openssl dgst -sha256 -verify {key} -keyform DER -signature signature message"))
        };
        verify("first.der")?;
        assert!(verify("second.der").is_err());
    }
    Ok(())
}
