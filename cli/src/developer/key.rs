//! The developer's own key: made here, kept here for this user alone, and given to nobody.
//!
//! With it goes a certificate that nobody vouches for, since TLS and signed packages are made with one. Who issues a permit is
//! given that certificate, and only that.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use permit::Developer;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Longest file that is read, bytes.
const FILE_MAX: u64 = 64 << 10;

/// Where this user's things are: `~/.config/gabion`.
pub(crate) fn folder() -> Result<PathBuf> {
    let configured = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    Ok(configured.or_else(home).context("neither XDG_CONFIG_HOME nor HOME is set")?.join("gabion"))
}

/// The private key, PEM.
pub(crate) fn key_path() -> Result<PathBuf> {
    Ok(folder()?.join("developer.key"))
}

/// The certificate, PEM: what may be handed out.
pub(crate) fn certificate_path() -> Result<PathBuf> {
    Ok(folder()?.join("developer.pub"))
}

/// Makes key and certificate, unless they are there; whether they were made.
pub(super) fn make(name: &str) -> Result<bool> {
    let (key_path, certificate_path) = (key_path()?, certificate_path()?);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("making a key")?;
    make_private(&folder()?)?;
    match write_new(&key_path, 0o600, &key.serialize_pem()) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            own()?;
            return Ok(false);
        }
        Err(e) => return Err(e).with_context(|| format!("writing {}", key_path.display())),
    }
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key).context("making the certificate")?;
    let written = write_new(&certificate_path, 0o644, &certificate.pem());
    if written.is_err() {
        // One without the other is of no use, and stands in the way.
        fs::remove_file(&key_path)?;
    }
    written.with_context(|| format!("writing {}", certificate_path.display()))?;
    Ok(true)
}

/// This user's certificate (DER) and key.
pub(crate) fn own() -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let (key_path, certificate_path) = (key_path()?, certificate_path()?);
    let none = "you have no key yet: `gabion developer key` makes one";
    let metadata = fs::metadata(&key_path).context(none)?;
    let mode = metadata.mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "{} may be read by others (mode {mode:o}): make another key, this one is not yours alone",
        key_path.display()
    );
    let key = PrivateKeyDer::from_pem_slice(read(&key_path)?.as_bytes());
    Ok((certificate(&certificate_path)?, key.with_context(|| format!("{} is no key", key_path.display()))?))
}

/// The certificate in a file (PEM), which must be one that a permit can be for.
pub(crate) fn certificate(path: &Path) -> Result<CertificateDer<'static>> {
    let text = read(path).context("the developer's certificate; `gabion developer key` makes one")?;
    let certificate = CertificateDer::from_pem_slice(text.as_bytes());
    let certificate = certificate.with_context(|| format!("{} has no certificate", path.display()))?;
    Developer::of(&certificate).with_context(|| path.display().to_string())?;
    Ok(certificate)
}

/// A file that is not endless.
pub(super) fn read(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    if text.len() as u64 > FILE_MAX {
        bail!("{} is too long", path.display());
    }
    Ok(text)
}

/// A folder for this user alone.
pub(super) fn make_private(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("making {}", folder.display()))
}

fn write_new(path: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
