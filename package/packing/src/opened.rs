//! A package as somebody got it: whether it is whole, and what it says it is.
//!
//! What an attacker controls: every byte. It is held to what a device holds it to, by the same code where there is any: the tables, the
//! hash tree over every block, the names that follow from the root hash, the file system, the manifest. Whose signature is on it is
//! asked of `openssl`, if a certificate is given. Deliberately not here: whether that certificate is to be believed.

use crate::command::{output, tool};
use crate::gab::MANIFEST;
use crate::gpt::{self, Found};
use crate::sha256;
use crate::verity::BLOCK;
use anyhow::Context;
use package::elf::Machine;
use package::erofs::{self, Contents};
use std::fmt;
use std::path::Path;

/// The longest package that is taken, bytes.
pub const PACKAGE_MAX: u64 = 4 << 30;
/// The length of a hash, and how many are in a block of the tree.
const HASH: usize = 32;
const HASHES: usize = BLOCK as usize / HASH;

/// Which part of a package is not as it must be, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The part.
    pub part: &'static str,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  help: {}", self.part, self.message, self.help)
    }
}

impl std::error::Error for Fault {}

const AGAIN: &str = "fetch the file again, or build it again with `gabion build`";
const SIGN: &str = "build it again with --key and --certificate";

/// What a package is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Hex; whoever trusts this trusts the rest.
    pub root_hash: String,
    /// What is in its file system.
    pub contents: Contents,
    /// The text of its manifest, which is not checked here.
    pub manifest: Vec<u8>,
    /// Whether there is a signature over the root hash.
    pub signed: bool,
}

/// Opens a package. With `certificate` (PEM), the signature must be by its key.
///
/// # Errors
/// The first part that is not as it must be.
pub fn open(package: &[u8], certificate: Option<&Path>) -> Result<Opened, Fault> {
    let table = |message: String| Fault { part: "partition table", message, help: AGAIN };
    let found = gpt::read(package).map_err(|error| table(error.to_string()))?;
    let mut parts = found.iter();
    let mut part = |kind: &str, name: &str| match parts.next() {
        Some(part) if part.kind == kind => Ok(part),
        _ => Err(table(format!("no {name} partition where one belongs"))),
    };
    let (root, tree) = (part(gpt::ROOT, "root")?, part(gpt::ROOT_VERITY, "root-verity")?);
    let signature = parts.next();
    if parts.next().is_some() || signature.is_some_and(|part| part.kind != gpt::ROOT_SIGNATURE) {
        return Err(table("partitions that no package has".to_owned()));
    }
    let bytes = |part: &Found| package.get(part.start..part.start + part.bytes).unwrap_or_default();
    let root_hash = verified(bytes(root), bytes(tree))?;
    let named = gpt::halves(&root_hash).is_ok_and(|halves| halves == [root.unique, tree.unique]);
    if !named {
        let message = format!("its root hash is {root_hash}, and the partitions are called by another");
        return Err(Fault { part: "root", message, help: AGAIN });
    }
    // Whatever else a device asks of the tables and the superblock.
    package::gab::read(package).map_err(|fault| Fault {
        part: "package",
        message: format!("a device refuses it, since it {fault}"),
        help: "build it with `gabion build`, which makes what devices take",
    })?;
    if let Some(part) = signature {
        signed(bytes(part), &root_hash, certificate)?;
    } else if certificate.is_some() {
        return Err(Fault { part: "signature", message: "there is none".to_owned(), help: SIGN });
    }
    let unfit = |refusal: erofs::Refusal| Fault {
        part: "root",
        message: format!("not fit for a package: {refusal}"),
        help: "build it with `gabion build`, which makes what devices take",
    };
    let contents = erofs::check(bytes(root), Machine::HERE).map_err(unfit)?;
    let manifest = erofs::file(bytes(root), MANIFEST, policy::TEXT_MAX).map_err(unfit)?;
    let manifest = manifest.ok_or_else(|| Fault {
        part: "manifest",
        message: format!("there is no /{MANIFEST}, or it is too long"),
        help: "build it with `gabion build`, which puts it there",
    })?;
    Ok(Opened { root_hash, contents, manifest, signed: signature.is_some() })
}

/// The root hash of `data`, whose hash tree `tree` must be (superblock of `veritysetup`, then the levels, the highest first).
fn verified(data: &[u8], tree: &[u8]) -> Result<String, Fault> {
    let fault = |message: &str| Fault { part: "hash tree", message: message.to_owned(), help: AGAIN };
    let blocks = data.len() / BLOCK as usize;
    let number = |at: usize, length: usize| {
        let bytes = tree.get(at..at + length).unwrap_or_default();
        bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let algorithm = tree.get(32..64).unwrap_or_default();
    let is_ours = tree.starts_with(b"verity\0\0")
        && (number(8, 4), number(12, 4)) == (1, 1)
        && algorithm.starts_with(b"sha256\0")
        && (number(64, 4), number(68, 4)) == (BLOCK, BLOCK);
    if !is_ours {
        return Err(fault("its superblock is not one of SHA-256 over blocks of 4096 bytes"));
    }
    let salt = usize::try_from(number(80, 2)).ok().filter(|length| *length <= 256);
    let salt =
        salt.and_then(|length| tree.get(88..88 + length)).ok_or_else(|| fault("its salt is too long"))?;
    if number(72, 8) != blocks as u64 || blocks == 0 {
        return Err(fault("it is over another number of blocks than the root has"));
    }
    let mut levels: Vec<Vec<u8>> = Vec::new();
    let mut below = data.to_vec();
    while below.len() > BLOCK as usize {
        let mut level: Vec<u8> =
            below.chunks(BLOCK as usize).flat_map(|block| sha256(&[salt, block])).collect();
        level.resize(level.len().div_ceil(HASHES * HASH) * BLOCK as usize, 0);
        levels.push(level.clone());
        below = level;
    }
    let top = sha256(&[salt, &below]);
    let whole: Vec<u8> = levels.into_iter().rev().flatten().collect();
    if tree.get(BLOCK as usize..) != Some(&whole) {
        return Err(fault("it is not the tree over the root's blocks: one of the two was changed"));
    }
    Ok(top.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether the partition of the signature is over this root hash, and by the certificate's key.
fn signed(part: &[u8], root_hash: &str, certificate: Option<&Path>) -> Result<(), Fault> {
    let fault = |message: String| Fault { part: "signature", message, help: SIGN };
    let end = part.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let said: serde_json::Value = serde_json::from_slice(part.get(..end).unwrap_or_default())
        .map_err(|e| fault(format!("no JSON: {e}")))?;
    let text = |key: &str| said.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    if text("rootHash") != root_hash {
        return Err(fault("it is over another root hash".to_owned()));
    }
    let fingerprint = text("certificateFingerprint");
    if fingerprint.len() != 2 * HASH || !fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(fault("it names no certificate by its SHA-256".to_owned()));
    }
    verify(text("signature"), root_hash, fingerprint, certificate)
        .map_err(|error| fault(format!("{error:#}").replace('\n', " ")))
}

fn verify(
    base64: &str,
    root_hash: &str,
    fingerprint: &str,
    certificate: Option<&Path>,
) -> anyhow::Result<()> {
    let place = tempfile::tempdir().context("making a directory")?;
    let path = |name: &str| place.path().join(name);
    std::fs::write(path("base64"), base64)?;
    std::fs::write(path("hash"), root_hash)?;
    let decode = ["base64", "-d", "-A", "-in"];
    output(tool("openssl").args(decode).arg(path("base64")).arg("-out").arg(path("p7")))?;
    output(tool("openssl").args(["pkcs7", "-inform", "DER", "-noout", "-in"]).arg(path("p7")))
        .context("no PKCS#7 signature")?;
    let Some(certificate) = certificate else { return Ok(()) };
    output(
        tool("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(certificate)
            .arg("-out")
            .arg(path("der")),
    )?;
    let is: String =
        sha256(&[&std::fs::read(path("der"))?]).iter().map(|byte| format!("{byte:02x}")).collect();
    anyhow::ensure!(is == fingerprint, "it is by the certificate {fingerprint}, and this one is {is}");
    let verify = ["smime", "-verify", "-binary", "-inform", "DER", "-noverify", "-in"];
    output(
        tool("openssl")
            .args(verify)
            .arg(path("p7"))
            .arg("-content")
            .arg(path("hash"))
            .arg("-certfile")
            .arg(certificate),
    )
    .map(drop)
    .context("it is not by the certificate's key")
}
