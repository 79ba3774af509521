//! Secrets sealed to boot states that a key off the device signs, on a real software TPM. OpenSSL is that key.

mod swtpm;

use std::slice::from_ref;

use anyhow::{Context, Result};
use swtpm::Swtpm;
use tpm::{Error, PolicyKey, Sealed, SignedPolicy};

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &parts.concat()).as_ref());
    digest
}

/// A key that OpenSSL makes, in a file of this name.
fn key(swtpm: &Swtpm, name: &str, algorithm: &str) -> Result<PolicyKey> {
    swtpm.run(&format!("openssl genpkey -quiet {algorithm} -out {name}.pem"))?;
    swtpm.run(&format!("openssl pkey -in {name}.pem -pubout -outform DER -out {name}.der"))?;
    PolicyKey::from_der(&swtpm.read(&format!("{name}.der"))?).context("a key")
}

/// The state in which PCR 11 is this, signed. The policy is written out here by hand, as the standard has it.
fn signed(swtpm: &Swtpm, name: &str, pcr: &[u8; 32]) -> Result<SignedPolicy> {
    let selection = [0, 0, 0, 1, 0, 0x0b, 3, 0, 8, 0];
    let policy = sha256(&[&[0; 32], &[0, 0, 1, 0x7f], &selection, &sha256(&[pcr])]);
    swtpm.write("policy", &policy)?;
    swtpm.run(&format!("openssl dgst -sha256 -sign {name}.pem -out signature policy"))?;
    Ok(SignedPolicy { pcrs: vec![11], policy, signature: swtpm.read("signature")? })
}

/// PCR 11 after this was measured, and after that.
fn after(pcr: &[u8; 32], digest: &[u8; 32]) -> [u8; 32] {
    sha256(&[pcr, digest])
}

#[test]
fn secret_opens_in_signed_states_alone_and_in_later_ones_too() -> Result<()> {
    for algorithm in ["-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-algorithm RSA"] {
        let swtpm = Swtpm::start()?;
        let key = key(&swtpm, "key", algorithm)?;
        let mut tpm = swtpm.open()?;
        let secret: Vec<u8> = (0..64).collect();
        // Sealed before the first state, which nobody has signed.
        let sealed = Sealed::from_bytes(&tpm.seal(&secret, &key)?.to_bytes()).context("sealed")?;
        let (first, second) = (after(&[0; 32], &[1; 32]), after(&after(&[0; 32], &[1; 32]), &[2; 32]));
        let one = signed(&swtpm, "key", &first)?;
        assert!(matches!(tpm.unseal(&sealed, from_ref(&one)), Err(Error::NoSignedPolicy)));
        tpm.extend(11, &[1; 32])?;
        assert_eq!(*tpm.unseal(&sealed, from_ref(&one))?, secret);
        tpm.extend(11, &[2; 32])?;
        assert!(matches!(tpm.unseal(&sealed, from_ref(&one)), Err(Error::NoSignedPolicy)));
        let both = [one, signed(&swtpm, "key", &second)?];
        assert_eq!(*tpm.unseal(&sealed, &both)?, secret);
    }
    Ok(())
}

#[test]
fn secret_stays_shut_for_another_signer_another_tpm_and_an_altered_signature() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let curve = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
    let ours = key(&swtpm, "key", curve)?;
    key(&swtpm, "other", curve)?;
    let mut tpm = swtpm.open()?;
    let sealed = tpm.seal(b"a secret", &ours)?;
    let good = signed(&swtpm, "key", &[0; 32])?;
    assert_eq!(*tpm.unseal(&sealed, from_ref(&good))?, b"a secret");
    let others = signed(&swtpm, "other", &[0; 32])?;
    assert!(matches!(tpm.unseal(&sealed, &[others]), Err(Error::Refused(..))));
    // A state that is not the TPM's under the signature of one that was signed.
    let lied = SignedPolicy { policy: signed(&swtpm, "key", &[9; 32])?.policy, ..good.clone() };
    assert!(matches!(tpm.unseal(&sealed, &[lied]), Err(Error::NoSignedPolicy)));
    let mut bytes = sealed.to_bytes();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let altered = Sealed::from_bytes(&bytes).context("sealed")?;
    let refused = tpm.unseal(&altered, from_ref(&good)).expect_err("it was altered");
    assert_eq!(refused.condition(), Some(tpm::Condition::Foreign), "{refused}");
    let elsewhere = Swtpm::start()?;
    assert!(matches!(elsewhere.open()?.unseal(&sealed, &[good]), Err(Error::Unexpected(_))));
    Ok(())
}

/// That it is the TPM that keeps the secret, and not our look at its PCRs: tpm2-tools do as they like.
#[test]
fn object_is_refused_to_programs_without_its_policy() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let key = key(&swtpm, "key", "-algorithm RSA")?;
    let mut tpm = swtpm.open()?;
    let bytes = tpm.seal(b"a secret", &key)?.to_bytes();
    drop(tpm.close()?);
    let mut reader = tpm::wire::Reader::new(&bytes);
    let mut next = || reader.sized(1024).context("a part");
    let (_, _, public, private) = (next()?, next()?, next()?, next()?);
    let with_size = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    swtpm.write("object.pub", &with_size(public))?;
    swtpm.write("object.priv", &with_size(private))?;
    // Both coordinates as tpm2-tss has them: a size in the machine's order, and room for 128 bytes.
    swtpm.write("unique", &[&[32, 0][..], &[0; 128]].concat().repeat(2))?;
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
    swtpm.run(&format!("tpm2_createprimary -Q -C o -G ecc -u unique -a {attributes} -c srk.ctx"))?;
    swtpm.run("tpm2_flushcontext -t")?;
    swtpm.run("tpm2_load -Q -C srk.ctx -u object.pub -r object.priv -c object.ctx")?;
    swtpm.run("tpm2_flushcontext -t")?;
    assert!(swtpm.run("tpm2_unseal -c object.ctx").is_err(), "without any policy");
    // With the policy of a state that is signed, it opens for them too.
    signed(&swtpm, "key", &[0; 32])?;
    swtpm.write("key.pub", &with_size(key.public()))?;
    swtpm.run("tpm2_loadexternal -Q -C o -u key.pub -c key.ctx -n name")?;
    swtpm.run("tpm2_verifysignature -Q -c key.ctx -g sha256 -m policy -s signature -f rsassa -t ticket")?;
    swtpm.run("tpm2_flushcontext -t")?;
    swtpm.run("tpm2_startauthsession -Q --policy-session -S session.ctx")?;
    swtpm.run("tpm2_policypcr -Q -S session.ctx -l sha256:11")?;
    swtpm.run("tpm2_policyauthorize -Q -S session.ctx -i policy -n name -t ticket")?;
    assert_eq!(swtpm.run("tpm2_unseal -p session:session.ctx -c object.ctx")?, "a secret");
    Ok(())
}

/// What `systemd-measure` predicts and signs for a kernel image opens a secret once that has been measured.
#[test]
fn state_that_systemd_measure_signed_opens_the_secret() -> Result<()> {
    let swtpm = Swtpm::start()?;
    swtpm.run("openssl genpkey -quiet -algorithm RSA -out key.pem")?;
    swtpm.run("openssl pkey -in key.pem -pubout -out key.pub")?;
    let key = PolicyKey::from_pem(&swtpm.read("key.pub")?).context("a key")?;
    swtpm.write("kernel", b"a kernel")?;
    let measure = "/lib/systemd/systemd-measure";
    // It computes the policy in a trial session of a TPM.
    let image = format!("--linux=kernel --bank=sha256 --tpm2-device={}", swtpm.tcti());
    let signed = swtpm.run(&format!(
        "{measure} sign {image} --private-key=key.pem --public-key=key.pub --json=short --phase=:"
    ))?;
    let policies = tpm::pcrsig::read(signed.as_bytes(), &key).context("states")?;
    assert_eq!(policies.len(), 1, "{signed}");
    let mut tpm = swtpm.open()?;
    let sealed = tpm.seal(b"a secret", &key)?;
    assert!(matches!(tpm.unseal(&sealed, &policies), Err(Error::NoSignedPolicy)));
    // As systemd-stub measures: the section's name with its zero, then what is in it.
    tpm.extend(11, &sha256(&[b".linux\0"]))?;
    tpm.extend(11, &sha256(&[b"a kernel"]))?;
    assert_eq!(*tpm.unseal(&sealed, &policies)?, b"a secret");
    Ok(())
}
