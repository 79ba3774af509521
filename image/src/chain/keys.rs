//! The keys of a device's maker, and signing with them.
//!
//! | file | what it signs |
//! |---|---|
//! | `pk.key`, `pk.pem` | who owns the board: changes of KEK. Nothing when a device is built: keep it away |
//! | `kek.key`, `kek.pem` | changes of what the board starts (db, dbx). Nothing when a device is built |
//! | `db.key`, `db.pem` | the boot loader and each release's kernel |
//! | `pcr.key`, `pcr.pub` | the state in which a release may open the data: a policy over PCR 11 |
//!
//! They lie in the folder `GABION_KEYS`, which a maker has, or in the cache, where development keys are made once:
//! RSA, since that is what firmware of all ages checks and what systemd's format of PCR signatures has. Only `db.key` and
//! `pcr.key` are read here, by `sbsign` and `openssl`.
//!
//! Development keys are as safe as the cache they lie in. A device that trusts them is a developer's.

use super::{hex, sha256};
use crate::command::{output, tool};
use crate::paths::Tree;
use anyhow::{Context, Result, bail};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Whom the entries of the board's key lists belong to: made up once, it only has to stay.
pub const OWNER: &str = "6f92c9a5-3d74-4c2e-9a43-67616269a001";

/// A folder of keys.
#[derive(Clone, Debug)]
pub struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// The maker's, if `GABION_KEYS` names them; else those of this machine's cache, made if there are none.
    ///
    /// # Errors
    /// One that is needed is missing; they cannot be made.
    pub fn of(tree: &Tree) -> Result<Self> {
        match std::env::var_os("GABION_KEYS") {
            Some(folder) => Self::at(Path::new(&folder)),
            None => Self::development(&tree.cache.join("keys")),
        }
    }

    /// Those in `folder`.
    ///
    /// # Errors
    /// One that is needed is missing.
    pub fn at(folder: &Path) -> Result<Self> {
        for name in ["pk.pem", "kek.pem", "db.pem", "db.key", "pcr.pub", "pcr.key"] {
            if !folder.join(name).is_file() {
                bail!("{} is missing; image/src/chain/keys.rs says what it is", folder.join(name).display());
            }
        }
        Ok(Self { folder: std::path::absolute(folder)? })
    }

    /// Those in `folder`, made if there is no such folder.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn development(folder: &Path) -> Result<Self> {
        if folder.is_dir() {
            return Self::at(folder);
        }
        crate::say("keys", format_args!("making development keys in {}", folder.display()));
        // Whole or not at all: another build may be doing the same.
        let fresh = folder.with_extension(format!("new-{}", std::process::id()));
        DirBuilder::new().recursive(true).mode(0o700).create(&fresh)?;
        for name in ["pk", "kek", "db"] {
            let subject = format!("/CN=Gabion development {name}/");
            let (key, certificate) = (fresh.join(format!("{name}.key")), fresh.join(format!("{name}.pem")));
            output(
                tool("openssl")
                    .args(["req", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes", "-days", "7300"])
                    .args(["-subj", &subject, "-keyout"])
                    .arg(key)
                    .arg("-out")
                    .arg(certificate),
            )?;
        }
        let key = fresh.join("pcr.key");
        output(
            tool("openssl")
                .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
                .arg(&key),
        )?;
        output(
            tool("openssl").args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out").arg(fresh.join("pcr.pub")),
        )?;
        if fs::rename(&fresh, folder).is_err() {
            fs::remove_dir_all(&fresh).with_context(|| format!("removing {}", fresh.display()))?;
        }
        Self::at(folder)
    }

    /// The certificate `pk`, `kek` or `db` as DER.
    ///
    /// # Errors
    /// It is none.
    pub fn certificate(&self, name: &str) -> Result<Vec<u8>> {
        let pem = self.folder.join(format!("{name}.pem"));
        converted(|to| {
            let mut openssl = tool("openssl");
            openssl.args(["x509", "-outform", "DER", "-in"]).arg(&pem).arg("-out").arg(to);
            openssl
        })
    }

    /// Signs an EFI program for Secure Boot.
    ///
    /// # Errors
    /// `sbsign` refuses.
    pub fn sign(&self, program: &[u8]) -> Result<Vec<u8>> {
        let from = temporary(program)?;
        converted(|to| {
            let mut sbsign = tool("sbsign");
            sbsign.arg("--key").arg(self.folder.join("db.key")).arg("--cert").arg(self.folder.join("db.pem"));
            sbsign.arg("--output").arg(to).arg(from.path());
            sbsign
        })
    }

    /// The public key of PCR policies, PEM: it is in the kernel image, and measured with it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn policy_key(&self) -> Result<Vec<u8>> {
        let path = self.folder.join("pcr.pub");
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// What systemd calls a policy key by: the hash of its PKCS#1 form.
    ///
    /// # Errors
    /// It is no RSA key.
    pub fn policy_fingerprint(&self) -> Result<String> {
        let der = converted(|to| {
            let mut openssl = tool("openssl");
            openssl.args(["rsa", "-pubin", "-RSAPublicKey_out", "-outform", "DER", "-in"]);
            openssl.arg(self.folder.join("pcr.pub")).arg("-out").arg(to);
            openssl
        })?;
        Ok(hex(&sha256(&[&der])))
    }

    /// Signs the digest of a policy, RSASSA with SHA-256, as `TPM2_PolicyAuthorize` with an empty reference wants it.
    ///
    /// # Errors
    /// `openssl` refuses.
    pub fn sign_policy(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        let from = temporary(digest)?;
        converted(|to| {
            let mut openssl = tool("openssl");
            openssl.args(["dgst", "-sha256", "-sign"]).arg(self.folder.join("pcr.key"));
            openssl.arg("-out").arg(to).arg(from.path());
            openssl
        })
    }

    /// What an image made with these keys depends on.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn identity(&self) -> Result<String> {
        let read = |name: &str| fs::read(self.folder.join(name)).with_context(|| format!("reading {name}"));
        Ok(hex(&sha256(&[&read("pk.pem")?, &read("kek.pem")?, &read("db.pem")?, &read("pcr.pub")?])))
    }
}

fn temporary(content: &[u8]) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), content)?;
    Ok(file)
}

/// What the command writes to the file it is given.
fn converted(command: impl FnOnce(&Path) -> std::process::Command) -> Result<Vec<u8>> {
    let to = tempfile::NamedTempFile::new()?;
    output(&mut command(to.path()))?;
    Ok(fs::read(to.path())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::pe;

    #[test]
    fn development_keys_are_made_once_and_sign_what_was_hashed() {
        let place = tempfile::tempdir().unwrap();
        let keys = Keys::development(&place.path().join("keys")).unwrap();
        let again = Keys::development(&place.path().join("keys")).unwrap();
        assert_eq!(keys.identity().unwrap(), again.identity().unwrap());
        let program = pe::of_code(&[0xc3; 77]).unwrap();
        let signed = keys.sign(&program).unwrap();
        assert_eq!(pe::authenticode(&signed).unwrap(), pe::authenticode(&program).unwrap());
        let file = temporary(&signed).unwrap();
        let verify = |name: &str| {
            let certificate = place.path().join("keys").join(name);
            output(tool("sbverify").arg("--cert").arg(certificate).arg(file.path()))
        };
        verify("db.pem").unwrap();
        verify("kek.pem").unwrap_err();
        assert_eq!(keys.sign_policy(&[0; 32]).unwrap().len(), 256);
        assert_eq!(keys.policy_fingerprint().unwrap().len(), 64);
    }

    #[test]
    fn folder_without_a_key_is_refused_by_its_name() {
        let place = tempfile::tempdir().unwrap();
        assert!(Keys::at(place.path()).unwrap_err().to_string().contains("pk.pem"));
    }
}
