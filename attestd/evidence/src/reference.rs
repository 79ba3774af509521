//! Reference values: what a device that runs a release measures, as the release's build publishes it beside the image.
//!
//! Whoever publishes them vouches for them; here they are only read strictly. Only what is known before any device runs is
//! in them: the kernel image in full, the names of all that the firmware may start, the keys that Secure Boot trusts.

use crate::Digest;
use crate::packages::Package;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Longest text of reference values, bytes.
pub const SIZE_MAX: usize = 1 << 20;
const TEXT_MAX: usize = 64;
/// Longest command line of the kernel on x86 and arm64.
const COMMAND_LINE_MAX: usize = 2048;

/// What a release measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// Its version: numbers with dots between them.
    pub release: String,
    /// Who it is for. Any but production is a debug build.
    pub audience: Audience,
    /// Values of the SHA-256 bank once the kernel runs, by the PCR's number in decimal: 11 at least.
    pub pcrs: BTreeMap<String, Digest>,
    /// Authenticode hash of the boot loader.
    pub boot_loader: Digest,
    /// Authenticode hash of the kernel image.
    pub kernel_image: Digest,
    /// Authenticode hashes of what else the firmware may start.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub images: BTreeSet<Digest>,
    /// The kernel's command line, as it is in the kernel image.
    pub command_line: String,
    /// Root hash of the system's dm-verity tree; it is on the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<Digest>,
    /// Root hash of the app store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps_hash: Option<Digest>,
    /// The values (SHA-256 of what is in the variable) that PK, KEK, db and dbx may have; a variable that is not named may have
    /// any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secure_boot: BTreeMap<String, BTreeSet<Digest>>,
    /// Values that the firmware's own PCRs, 0 to 3, may have, by the PCR's number; one that is not named may have any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub firmware: BTreeMap<String, BTreeSet<Digest>>,
    /// Packages that come with the release.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub packages: BTreeSet<Package>,
}

/// Who a release is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Devices in the field.
    Production,
    /// App developers: with ways into the device.
    Developers,
}

/// Why text is no reference values.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReferenceError {
    /// More than [`SIZE_MAX`] bytes.
    Size,
    /// No JSON of this form.
    Json(serde_json::Error),
    /// What is named here is missing or out of its bounds.
    Value(&'static str),
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => write!(out, "reference values have more than {SIZE_MAX} bytes"),
            Self::Json(_) => out.write_str("reference values are malformed"),
            Self::Value(what) => write!(out, "reference values have no usable {what}"),
        }
    }
}

impl std::error::Error for ReferenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Size | Self::Value(_) => None,
        }
    }
}

impl ReferenceValues {
    /// Reads them from JSON.
    pub fn read(json: &[u8]) -> Result<Self, ReferenceError> {
        if json.len() > SIZE_MAX {
            return Err(ReferenceError::Size);
        }
        let values: Self = serde_json::from_slice(json).map_err(ReferenceError::Json)?;
        values.check()?;
        Ok(values)
    }

    fn check(&self) -> Result<(), ReferenceError> {
        let of = |good: bool, what| good.then_some(()).ok_or(ReferenceError::Value(what));
        of(version(&self.release).is_some(), "version")?;
        of(is_plain(&self.command_line, COMMAND_LINE_MAX), "command line")?;
        of(self.pcrs.keys().eq(["11"]), "value of PCR 11, alone")?;
        let variables = ["PK", "KEK", "db", "dbx"];
        of(self.secure_boot.keys().all(|name| variables.contains(&name.as_str())), "Secure Boot variable")?;
        of(
            self.firmware.keys().all(|pcr| ["0", "1", "2", "3"].contains(&pcr.as_str())),
            "PCR of the firmware",
        )?;
        of(self.packages.iter().all(|package| package.digest().is_ok()), "package")
    }

    /// What PCR 11 holds once the kernel runs.
    #[must_use]
    pub fn pcr11(&self) -> Digest {
        // `read` refuses values without it; zero is what it holds when no kernel image was measured.
        self.pcrs.get("11").copied().unwrap_or(Digest::ZERO)
    }

    /// It is no release for the field.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.audience != Audience::Production
    }
}

fn is_plain(text: &str, length_max: usize) -> bool {
    text.len() <= length_max && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// The numbers of a version, which compare like versions do; none if it is not one. `1.4` and `1.4.0` are the same.
#[must_use]
pub fn version(text: &str) -> Option<Vec<u32>> {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?;
    let numbers: Option<Vec<u32>> =
        (text.len() <= TEXT_MAX).then(|| text.split('.').map(digits).collect())?;
    let mut numbers = numbers?;
    while numbers.len() > 1 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: &str = include_str!("../tests/data/reference.json");

    #[test]
    fn values_of_the_build_are_read_and_written_back() -> Result<(), ReferenceError> {
        let values = ReferenceValues::read(BUILT.as_bytes())?;
        let written = serde_json::to_vec(&values).map_err(ReferenceError::Json)?;
        assert_eq!(ReferenceValues::read(&written)?, values);
        Ok(())
    }

    #[test]
    fn values_without_pcr_11_or_with_an_unknown_word_are_refused() {
        assert!(matches!(
            ReferenceValues::read(BUILT.replace("\"11\"", "\"10\"").as_bytes()),
            Err(ReferenceError::Value(_))
        ));
        assert!(matches!(
            ReferenceValues::read(BUILT.replace("audience", "audiences").as_bytes()),
            Err(ReferenceError::Json(_))
        ));
        assert!(matches!(ReferenceValues::read(&vec![b' '; SIZE_MAX + 1]), Err(ReferenceError::Size)));
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        assert!(version("1.10") > version("1.9.7"));
        assert_eq!(version("1.4"), version("1.4.0"));
        assert!(version("0").is_some());
        for bad in ["", "1.", ".1", "1.a", "+1", "1.99999999999"] {
            assert_eq!(version(bad), None, "{bad}");
        }
    }
}
