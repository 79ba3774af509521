//! The log of launched packages: what PCR 13 was extended with since the device booted, in order.
//!
//! Records of the TCG Canonical Event Log in its JSON encoding (CEL-JSON, TCG Canonical Event Log Format 1.0, 5.3), one a
//! line, with a content type of our own, as 5.1.6 allows. PCR 13 is extended with the digest, which is SHA-256 of the content
//! in the form of RFC 8785: members sorted by name, no space between them. Each record has one spelling, so that what is
//! compared by digest and what a person reads cannot differ.
//!
//! ```json
//! {"recnum":0,"pcr":13,"digests":[{"hashAlg":"sha256","digest":"…"}],"content_type":"gabion.package","content":{
//!  "app":"org.example.pump","manifest":"…","root":"…","version":"1.4.0"}}
//! ```

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The PCR of packages.
pub const PCR: u32 = 13;
/// Longest log that is read, bytes.
pub const SIZE_MAX: usize = 256 * 1024;
/// Longest record, bytes. (`bus::attest_link` carries no longer one.)
pub const RECORD_MAX: usize = 4 << 10;
/// Longest id or version, bytes.
const TEXT_MAX: usize = 128;
const CONTENT_TYPE: &str = "gabion.package";

/// A package as it was measured before its first launch since the device booted. The members are sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The app's id.
    pub app: String,
    /// SHA-256 of its manifest's text.
    pub manifest: Digest,
    /// Root hash of its image's dm-verity tree; none for an app in the system's own store, which the kernel's command line
    /// has the root hash of.
    pub root: Option<Digest>,
    /// Its version.
    pub version: String,
}

/// Why there is no record, or bytes are no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogError {
    /// The log is too long.
    Size,
    /// The record, counted from 0, is not one as this crate writes it.
    Record(usize),
    /// The record's digest is not its content's.
    Digest(usize),
    /// An id or version is empty, too long, or has other than printable ASCII characters or a quote or backslash.
    Text,
}

impl fmt::Display for LogError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => write!(out, "the package log has more than {SIZE_MAX} bytes"),
            Self::Record(at) => write!(out, "record {at} of the package log is malformed or out of order"),
            Self::Digest(at) => {
                write!(out, "record {at} of the package log has another digest than its content")
            }
            Self::Text => out.write_str("an app's id or version cannot be written into the package log"),
        }
    }
}

impl std::error::Error for LogError {}

/// In the order of the specification.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    recnum: usize,
    pcr: u32,
    digests: [DigestValue; 1],
    content_type: String,
    content: Package,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestValue {
    #[serde(rename = "hashAlg")]
    algorithm: String,
    digest: Digest,
}

impl Package {
    /// What PCR 13 is extended with.
    pub fn digest(&self) -> Result<Digest, LogError> {
        if ![&self.app, &self.version].into_iter().all(|text| is_text(text)) {
            return Err(LogError::Text);
        }
        let content = serde_json::to_vec(self).map_err(|_| LogError::Text)?;
        Ok(Digest::of(&content))
    }

    /// Its record as the log's one with this number, without a line feed.
    pub fn record(&self, number: usize) -> Result<String, LogError> {
        let digests = [DigestValue { algorithm: "sha256".to_owned(), digest: self.digest()? }];
        let content_type = CONTENT_TYPE.to_owned();
        let record = Record { recnum: number, pcr: PCR, digests, content_type, content: self.clone() };
        serde_json::to_string(&record).map_err(|_| LogError::Text)
    }
}

/// What JSON writes as it is, so that the form of RFC 8785 is that of any writer.
fn is_text(text: &str) -> bool {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.len() <= TEXT_MAX && text.bytes().all(plain)
}

/// Reads a log: records from 0 on, each with a line feed behind it, each exactly as [`Package::record`] writes it.
pub fn read(log: &[u8]) -> Result<Vec<Package>, LogError> {
    if log.len() > SIZE_MAX {
        return Err(LogError::Size);
    }
    log.split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .map(|(number, line)| record(number, line))
        .collect()
}

fn record(number: usize, line: &[u8]) -> Result<Package, LogError> {
    let malformed = LogError::Record(number);
    let line = line.strip_suffix(b"\n").filter(|line| line.len() <= RECORD_MAX).ok_or(malformed)?;
    let record: Record = serde_json::from_slice(line).map_err(|_| malformed)?;
    let [claimed] = &record.digests;
    if record.content.digest().map_err(|_| malformed)? != claimed.digest {
        return Err(LogError::Digest(number));
    }
    // One spelling; the number, the PCR and the words are in it.
    if record.content.record(number).map_err(|_| malformed)?.as_bytes() != line {
        return Err(malformed);
    }
    Ok(record.content)
}

/// What PCR 13 holds after these were launched.
pub fn replay(packages: &[Package]) -> Result<Digest, LogError> {
    packages.iter().try_fold(Digest::ZERO, |value, package| Ok(value.extended(&package.digest()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packages() -> impl Strategy<Value = Vec<Package>> {
        let digest = any::<[u8; 32]>().prop_map(Digest);
        let package =
            ("[ -!#-\\[\\]-~]{1,128}", digest.clone(), proptest::option::of(digest), "[0-9.]{1,16}");
        let package =
            package.prop_map(|(app, manifest, root, version)| Package { app, manifest, root, version });
        proptest::collection::vec(package, 0..8)
    }

    fn log(packages: &[Package]) -> Vec<u8> {
        packages
            .iter()
            .enumerate()
            .flat_map(|(n, p)| format!("{}\n", p.record(n).unwrap()).into_bytes())
            .collect()
    }

    proptest! {
        #[test]
        fn log_written_reads_as_what_was_written(all in packages()) {
            prop_assert_eq!(read(&log(&all)), Ok(all));
        }

        #[test]
        fn log_with_a_record_removed_or_moved_does_not_replay(all in packages(), at in 0_usize..8, to in 0_usize..8) {
            prop_assume!(at < all.len() && to < all.len());
            let value = replay(&all).unwrap();
            let mut less = all.clone();
            let one = less.remove(at);
            prop_assert_ne!(replay(&less).unwrap(), value);
            less.insert(to, one);
            prop_assert_eq!(replay(&less).unwrap() == value, less == all);
        }

        #[test]
        fn log_with_a_byte_altered_is_refused_or_does_not_replay(all in packages(), at in any::<usize>(), bit in 0..8) {
            prop_assume!(!all.is_empty());
            let mut bytes = log(&all);
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            let other = read(&bytes);
            prop_assert!(other.as_ref() != Ok(&all));
            prop_assert!(other.is_err() || replay(&other.unwrap()) != replay(&all));
        }
    }

    #[test]
    fn record_out_of_order_cut_or_spelt_otherwise_is_refused() {
        let package =
            Package { app: "a".to_owned(), manifest: Digest::ZERO, root: None, version: "1".to_owned() };
        let line = |n| format!("{}\n", package.record(n).unwrap());
        assert!(read(line(0).as_bytes()).is_ok());
        assert_eq!(read(line(1).as_bytes()), Err(LogError::Record(0)));
        assert_eq!(read(line(0).trim_end().as_bytes()), Err(LogError::Record(0)), "no line feed: cut");
        assert_eq!(read(line(0).replace(":0,", ": 0,").as_bytes()), Err(LogError::Record(0)));
        assert_eq!(read(line(0).replace("\"1\"", "\"2\"").as_bytes()), Err(LogError::Digest(0)));
        let quoted = Package { app: "a\"b".to_owned(), ..package };
        assert_eq!(quoted.record(0), Err(LogError::Text));
    }
}
