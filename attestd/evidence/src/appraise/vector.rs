//! The trustworthiness vector of draft-ietf-rats-ar4si, 2.3: what is claimed of which side of a device, by numbers that mean
//! the same to every verifier.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Cryptographic validation failed, whatever the claim is about.
pub(super) const UNPROVEN: i8 = 99;

/// What a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Which device it is.
    InstanceIdentity,
    /// What it was configured to enforce.
    Configuration,
    /// What was loaded into memory while it booted and after.
    Executables,
    /// What is on its file systems.
    FileSystem,
    /// Its hardware and firmware.
    Hardware,
    /// What may read its secrets at rest.
    StorageOpaque,
}

/// Classes of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Nothing is claimed.
    None,
    /// It is as it should be.
    Affirming,
    /// It is known, and not all as it should be.
    Warning,
    /// It must not be trusted.
    Contraindicated,
}

impl Tier {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }

    fn of(value: i8) -> Self {
        match value {
            2..=31 => Self::Affirming,
            32..=95 => Self::Warning,
            96..=127 => Self::Contraindicated,
            _ => Self::None,
        }
    }
}

impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Claims with their values; one that is missing is not made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Vector(BTreeMap<Claim, i8>);

impl Vector {
    /// The value of a claim; 0 when it is not made.
    #[must_use]
    pub fn value(&self, claim: Claim) -> i8 {
        self.0.get(&claim).copied().unwrap_or(0)
    }

    /// Makes a claim, unless something worse is known.
    pub(super) fn affirm(&mut self, claim: Claim, value: i8) {
        self.0.entry(claim).or_insert(value);
    }

    /// Something was found; what is worse stays.
    pub(super) fn lower(&mut self, claim: Claim, value: i8) {
        let worst = self.value(claim).max(value);
        self.0.insert(claim, worst);
    }

    /// The worst of them.
    #[must_use]
    pub fn status(&self) -> Tier {
        self.0.values().map(|value| Tier::of(*value)).max().unwrap_or(Tier::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_lowered_stays_low_and_status_is_the_worst() {
        let mut vector = Vector::default();
        assert_eq!(vector.status(), Tier::None);
        vector.affirm(Claim::Executables, 3);
        vector.lower(Claim::Configuration, 32);
        assert_eq!(vector.status(), Tier::Warning);
        vector.lower(Claim::Configuration, 96);
        vector.affirm(Claim::Configuration, 2);
        vector.lower(Claim::Configuration, 32);
        assert_eq!(vector.value(Claim::Configuration), 96);
        assert_eq!(vector.status(), Tier::Contraindicated);
        assert_eq!(serde_json::to_string(&vector).unwrap(), r#"{"configuration":96,"executables":3}"#);
    }
}
