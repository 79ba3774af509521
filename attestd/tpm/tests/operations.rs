//! Every operation on a real software TPM, judged by tpm2-tools and OpenSSL.

mod swtpm;

use anyhow::{Context, Result};
use swtpm::{Swtpm, spki};
use tpm::{Condition, Error, KeyId};

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

/// `tpm2_createek` makes the same keys of its own templates.
#[test]
fn endorsement_keys_are_those_of_the_tcgs_templates() -> Result<()> {
    let swtpm = Swtpm::start_with_certificates()?;
    let mut tpm = swtpm.open()?;
    let ek = tpm.ek()?;
    drop(tpm.close()?);
    // swtpm_setup has certificates for RSA and P-384.
    swtpm.run("tpm2_createek -Q -G rsa -c rsa.ctx -u rsa.pub")?;
    assert_eq!(ek.public.bytes(), &swtpm.read("rsa.pub")?[2..]);
    swtpm.write("ek.der", &ek.certificate.context("a certificate")?)?;
    swtpm.run("openssl x509 -inform DER -in ek.der -out ek.pem")?;
    swtpm.run("openssl verify -partial_chain -ignore_critical -CAfile issuer.pem ek.pem")?;
    let ours = swtpm.run("openssl x509 -in ek.pem -noout -pubkey")?;
    assert_eq!(ours, swtpm.run("tpm2_readpublic -Q -c rsa.ctx -f pem -o /dev/stdout")?);

    let plain = Swtpm::start()?;
    let mut tpm = plain.open()?;
    let ek = tpm.ek()?;
    drop(tpm.close()?);
    assert_eq!(ek.certificate, None);
    plain.run("tpm2_createek -Q -G ecc -c ecc.ctx -u ecc.pub")?;
    assert_eq!(ek.public.bytes(), &plain.read("ecc.pub")?[2..]);
    // A certificate for P-256, longer than one read of NV memory.
    let certificate: Vec<u8> = (0..1500_u32).map(|byte| byte as u8).collect();
    plain.write("certificate", &certificate)?;
    plain.run(
        "tpm2_nvdefine -Q 0x1c0000a -C p -s 1500 -a ppwrite|ppread|ownerread|authread|no_da|platformcreate",
    )?;
    plain.run("tpm2_nvwrite -Q 0x1c0000a -C p -i certificate")?;
    assert_eq!(plain.open()?.ek()?.certificate, Some(certificate));
    Ok(())
}

/// What `tpm2_makecredential` made for one TPM comes out of that one, and with its attestation key alone.
#[test]
fn credential_opens_in_its_own_tpm_alone() -> Result<()> {
    for swtpm in [Swtpm::start()?, Swtpm::start_with_certificates()?] {
        let mut tpm = swtpm.open()?;
        let (ek, ak) = (tpm.ek()?, tpm.ak()?);
        let (blob, seed) = credential(&swtpm, &ek.public, &ak.name)?;
        assert_eq!(*tpm.activate(&blob, &seed)?, b"the secret of the service");
        let mut bad = blob.clone();
        bad[40] ^= 1;
        let refused = tpm.activate(&bad, &seed).expect_err("it was altered");
        assert_eq!(refused.condition(), Some(Condition::Foreign), "{refused}");
        let (blob, seed) = credential(&swtpm, &ek.public, &tpm.app_key(app(1))?.name)?;
        let refused = tpm.activate(&blob, &seed).expect_err("it is another key's");
        assert_eq!(refused.condition(), Some(Condition::Foreign), "{refused}");
        let (blob, seed) = credential(&swtpm, &ek.public, &ak.name)?;
        let other = Swtpm::start()?;
        assert!(other.open()?.activate(&blob, &seed).is_err());
    }
    Ok(())
}

/// Both parts without their sizes.
fn credential(swtpm: &Swtpm, ek: &tpm::Public, name: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let size = u16::try_from(ek.bytes().len())?.to_be_bytes();
    swtpm.write("ek", &[&size, ek.bytes()].concat())?;
    swtpm.write("secret", b"the secret of the service")?;
    let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    swtpm.run(&format!("tpm2_makecredential -Q -T none -u ek -s secret -n {name} -o credential"))?;
    // A magic number and a version, then both.
    let bytes = swtpm.read("credential")?;
    let mut reader = tpm::wire::Reader::new(&bytes[8..]);
    let blob = reader.sized(512).context("a blob")?.to_vec();
    Ok((blob, reader.sized(512).context("a seed")?.to_vec()))
}

#[test]
fn certified_key_is_named_and_signed_for() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let mut tpm = swtpm.open()?;
    let (ak, key) = (tpm.ak()?, tpm.app_key(app(1))?);
    let certified = tpm.certify(app(1), b"a nonce")?;
    let has = |part: &[u8]| certified.attest.windows(part.len()).any(|window| window == part);
    assert!(has(&key.name) && has(b"a nonce"));
    assert_eq!(certified.attest[..6], [0xff, b'T', b'C', b'G', 0x80, 0x17]);
    let (r, s) =
        tpm::wire::Reader::whole(&certified.signature, tpm::read_signature).context("a signature")?;
    let (x, y) = ak.public.point().context("a point")?;
    let point = [&[4][..], x, y].concat();
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point);
    public.verify(&certified.attest, &[r, s].concat()).map_err(|_| anyhow::anyhow!("not signed"))
}

#[test]
fn pcrs_read_are_those_that_others_read() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let mut tpm = swtpm.open()?;
    tpm.extend(13, &[7; 32])?;
    let all: Vec<u8> = (0..24).collect();
    let values = tpm.read_pcrs(&all)?;
    assert_eq!(values.iter().map(|(pcr, _)| *pcr).collect::<Vec<_>>(), all);
    assert_eq!(values[13].1, sha256(&[[0; 32], [7; 32]].concat()));
    drop(tpm.close()?);
    swtpm.run("tpm2_pcrread -Q sha256:all -o pcrs")?;
    assert_eq!(swtpm.read("pcrs")?, values.iter().flat_map(|(_, value)| *value).collect::<Vec<_>>());
    assert!(matches!(swtpm.open()?.read_pcrs(&[24]), Err(Error::Argument(_))));
    Ok(())
}

#[test]
fn random_bytes_are_as_many_as_asked_for_and_others_each_time() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let mut tpm = swtpm.open()?;
    assert!(tpm.random(0)?.is_empty());
    assert_eq!(tpm.random(100)?.len(), 100);
    assert_ne!(tpm.random(32)?, tpm.random(32)?);
    Ok(())
}

#[test]
fn register_of_the_boot_is_reset_by_nobody() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let mut tpm = swtpm.open()?;
    for pcr in [0, 7, 11, 13] {
        tpm.extend(pcr, &[7; 32])?;
    }
    let before = tpm.read_pcrs(&[0, 7, 11, 13])?;
    drop(tpm.close()?);
    for pcr in [0, 7, 11, 13] {
        assert!(swtpm.run(&format!("tpm2_pcrreset {pcr}")).is_err(), "PCR {pcr}");
    }
    // One that is for trying things out.
    swtpm.run("tpm2_pcrreset 16")?;
    assert_eq!(swtpm.open()?.read_pcrs(&[0, 7, 11, 13])?, before);
    Ok(())
}

#[test]
fn counter_goes_up_and_never_back() -> Result<()> {
    const INDEX: u32 = 0x0180_0001;
    let swtpm = Swtpm::start()?;
    let mut tpm = swtpm.open()?;
    let absent = tpm.read_counter(INDEX).expect_err("there is none");
    assert_eq!(absent.condition(), Some(Condition::Absent), "{absent}");
    tpm.define_counter(INDEX)?;
    let first = tpm.read_counter(INDEX)?;
    tpm.increment_counter(INDEX)?;
    assert_eq!(tpm.read_counter(INDEX)?, first + 1);
    let exists = tpm.define_counter(INDEX).expect_err("there is one");
    assert_eq!(exists.condition(), Some(Condition::Exists), "{exists}");
    tpm.undefine_counter(INDEX)?;
    tpm.define_counter(INDEX)?;
    assert!(tpm.read_counter(INDEX)? > first + 1);
    Ok(())
}
