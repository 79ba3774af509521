//! Amounts: bytes, CPU share, counts, durations. Each is written with its unit.
//!
//! An attacker chooses the number; each type has an upper bound far below where arithmetic on it could overflow, so
//! users may add and multiply values of these types in `u64`. The board's ceiling is not known here: see `rules`.

use crate::problem::{Invalid, quote};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An amount of memory or storage in bytes, at most 1 TiB. Written as `"16MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Bytes(u64);

/// Upper bound of [`Bytes`]: 1 TiB.
const BYTES_MAX: u64 = 1 << 40;
const BYTE_UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl Bytes {
    /// `n` MiB; more than the type holds becomes its upper bound.
    pub const fn mebibytes(n: u64) -> Self {
        let bytes = n.saturating_mul(1 << 20);
        Self(if bytes > BYTES_MAX { BYTES_MAX } else { bytes })
    }

    /// The amount in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Bytes {
    type Error = Invalid;
    fn try_from(bytes: u64) -> Result<Self, Invalid> {
        if bytes > BYTES_MAX {
            return Err(Invalid::new(
                format!("{bytes} bytes is more than any device has"),
                "use at most \"1024GiB\"",
            ));
        }
        Ok(Self(bytes))
    }
}

impl From<Bytes> for u64 {
    fn from(value: Bytes) -> u64 {
        value.0
    }
}

impl FromStr for Bytes {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (number, unit) = split_unit(text);
        let Some(count) = number else {
            return Err(Invalid::new(
                format!("{} is not an amount", quote(text)),
                "write a whole number and a unit, as \"16MiB\"",
            ));
        };
        let Some((_, factor)) = BYTE_UNITS.iter().find(|(name, _)| *name == unit) else {
            let meant = match unit.to_ascii_lowercase().trim().chars().next() {
                Some('g') => "GiB",
                Some('k') => "KiB",
                _ => "MiB",
            };
            let help = format!("write \"{count}{meant}\"; the units are KiB, MiB and GiB");
            return Err(Invalid::new(format!("{} has no known unit", quote(text)), help));
        };
        Self::try_from(count.saturating_mul(*factor))
    }
}

impl fmt::Display for Bytes {
    /// Prints in the largest unit that leaves a whole number; the result parses back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting =
            BYTE_UNITS.iter().rev().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match fitting {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}KiB", self.0 / 1024),
        }
    }
}

/// A share of CPU time in percent of one CPU, 1 to 102400. Written as `"20%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct CpuPercent(u32);

impl CpuPercent {
    /// Percent of one CPU; 250 is two and a half CPUs.
    pub const fn percent(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for CpuPercent {
    type Error = Invalid;
    fn try_from(percent: u64) -> Result<Self, Invalid> {
        match u32::try_from(percent) {
            Ok(value @ 1..=102_400) => Ok(Self(value)),
            _ => Err(Invalid::new(
                format!("{percent}% is not a share of CPU time"),
                "write \"1%\" or more; \"100%\" is one whole CPU",
            )),
        }
    }
}

impl From<CpuPercent> for u64 {
    fn from(value: CpuPercent) -> u64 {
        value.0.into()
    }
}

impl FromStr for CpuPercent {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match split_unit(text) {
            (Some(number), "%") => Self::try_from(number),
            _ => Err(Invalid::new(
                format!("{} is not a share of CPU time", quote(text)),
                "write a whole number of percent of one CPU, as \"20%\"",
            )),
        }
    }
}

impl fmt::Display for CpuPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A length of time in whole milliseconds, 1 ms to 24 h. Written as `"30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Duration(u32);

/// Upper bound of [`Duration`]: 24 hours in milliseconds.
const DURATION_MAX_MS: u64 = 24 * 3_600_000;
const TIME_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

impl Duration {
    /// `n` seconds, at most 24 h.
    pub const fn seconds(n: u32) -> Self {
        let ms = n as u64 * 1000;
        Self(if ms > DURATION_MAX_MS { DURATION_MAX_MS as u32 } else { ms as u32 })
    }

    /// The length in milliseconds.
    pub const fn milliseconds(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for Duration {
    type Error = Invalid;
    fn try_from(ms: u64) -> Result<Self, Invalid> {
        match u32::try_from(ms) {
            Ok(value) if value > 0 && ms <= DURATION_MAX_MS => Ok(Self(value)),
            _ => Err(Invalid::new(
                format!("{ms} ms is not between 1 ms and 24 h"),
                "write a time from \"1ms\" to \"24h\"",
            )),
        }
    }
}

impl From<Duration> for u64 {
    fn from(value: Duration) -> u64 {
        value.0.into()
    }
}

impl FromStr for Duration {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (number, unit) = split_unit(text);
        let factor = TIME_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
        match (number, factor) {
            (Some(number), Some(factor)) => Self::try_from(number.saturating_mul(*factor)),
            _ => Err(Invalid::new(
                format!("{} is not a length of time", quote(text)),
                "write a whole number and ms, s, m or h, as \"30s\"",
            )),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::from(self.0);
        let fitting = TIME_UNITS.iter().rev().find(|(_, factor)| ms.is_multiple_of(*factor));
        let (name, factor) = fitting.unwrap_or(&("ms", 1));
        write!(f, "{}{name}", ms / factor)
    }
}

/// Cuts `"16MiB"` into its number and its unit. No sign, no blank, no fraction.
fn split_unit(text: &str) -> (Option<u64>, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.parse().ok(), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_with_unit_are_read_and_printed_back() {
        for text in ["16MiB", "1GiB", "3KiB", "0KiB", "1025KiB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bytes_wrong_unit_says_what_to_write() {
        let error = "16MB".parse::<Bytes>().unwrap_err();
        assert!(error.help.contains("\"16MiB\""), "{error}");
        assert!("64k".parse::<Bytes>().unwrap_err().help.contains("\"64KiB\""));
        for bad in ["", "MiB", "-1MiB", "1.5MiB", "16 MiB", "1025GiB", "99999999999999999999GiB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cpu_percent_bounds_hold() {
        assert_eq!("250%".parse::<CpuPercent>().unwrap().percent(), 250);
        for bad in ["0%", "20", "%", "0.5%", "102401%", "-1%"] {
            assert!(bad.parse::<CpuPercent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn duration_units_and_bounds_hold() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000)] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.milliseconds(), ms);
            assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }
        for bad in ["0s", "25h", "30", "s", "1d", "-1s"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }
}
