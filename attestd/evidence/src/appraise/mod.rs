//! The appraisal: evidence against reference values and a policy, to a verdict with its reasons.
//!
//! The quote has been checked before (`tpm::check_quote`): the PCR values are what a genuine TPM holds. Here the logs are
//! replayed to them; only then do the digests in the logs count, each in its place, and what the logs say *about* them only
//! where the digest proves it. Every claim begins as "no claim" and is lowered by each fault found, never raised again; a fault
//! ends nothing early, so that a person sees all that is wrong at once.
//!
//! What a verdict rests on: the firmware itself (PCR 0, unless the reference values name its values) and the kernel's honesty
//! after it was started.

mod clock;
mod firmware;
mod kernel;
mod packages;
mod vector;

pub use vector::{Claim, Tier, Vector};

use crate::bootlog::BootLog;
use crate::packages::Package;
use crate::reference::{self, ReferenceValues};
use crate::{Digest, packages as package_log};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most reasons of a verdict; what is found beyond them changes the verdict, and is counted.
const REASONS_MAX: usize = 32;
/// Most measurements that a verdict lists: it is kept for each device. A board's has 30, and one for each package.
const MEASUREMENTS_MAX: usize = 256;

/// What a device has shown. The values are those of a checked quote.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// PCR values.
    pub values: &'a BTreeMap<u32, Digest>,
    /// The firmware's event log.
    pub boot_log: &'a [u8],
    /// The log of launched packages.
    pub package_log: &'a [u8],
}

/// A release as somebody has published it.
#[derive(Debug, Clone)]
pub struct Published {
    /// What its publisher calls it.
    pub name: String,
    /// No device may run it any more.
    pub withdrawn: bool,
    /// What it measures. Whoever judges many devices reads it once.
    pub values: Arc<ReferenceValues>,
}

/// What a device has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Releases that it may run, by their names; none named: all that are published and not withdrawn.
    pub releases: BTreeSet<String>,
    /// It may run no older version.
    pub version_min: Option<String>,
    /// Secure Boot has to be on, with the keys of the reference values.
    pub secure_boot: bool,
    /// Builds for developers pass.
    pub debug: bool,
    /// Only packages that a published release names pass.
    pub known_packages: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            releases: BTreeSet::new(),
            version_min: None,
            secure_boot: true,
            debug: false,
            known_packages: false,
        }
    }
}

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measurement {
    /// What: "PCR 11", "Secure Boot", an app with its version.
    pub name: String,
    /// What it may be; empty if nobody says.
    pub expected: Vec<String>,
    /// What it is.
    pub seen: String,
    /// It is as it has to be, or nobody says how that is.
    pub passed: bool,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal {
    /// The tiers of AR4SI.
    pub vector: Vector,
    /// What was found wrong or worth saying, for people.
    pub reasons: Vec<String>,
    /// The release that runs, if it is a published one.
    pub release: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Each thing that was measured.
    pub measurements: Vec<Measurement>,
    /// The packages that were launched since the device booted.
    pub packages: Vec<Package>,
}

impl Appraisal {
    /// The worst tier of all claims.
    #[must_use]
    pub fn status(&self) -> Tier {
        self.vector.status()
    }

    /// The device is one that may have certificates.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self.status(), Tier::Affirming | Tier::Warning)
    }

    fn lower(&mut self, claim: Claim, value: i8, reason: String) {
        self.vector.lower(claim, value);
        match self.reasons.len() {
            0..REASONS_MAX => self.reasons.push(reason),
            REASONS_MAX => self.reasons.push("and more".to_owned()),
            _ => {}
        }
    }

    fn measured(
        &mut self,
        name: impl Into<String>,
        expected: Vec<String>,
        seen: impl Into<String>,
        passed: bool,
    ) {
        if self.measurements.len() < MEASUREMENTS_MAX {
            self.measurements.push(Measurement { name: name.into(), expected, seen: seen.into(), passed });
        }
    }
}

/// Judges evidence. Never fails: what cannot be read is a reason.
#[must_use]
pub fn appraise(evidence: Evidence<'_>, published: &[Published], policy: &Policy) -> Appraisal {
    let mut verdict = Appraisal {
        vector: Vector::default(),
        reasons: Vec::new(),
        release: None,
        version: None,
        measurements: Vec::new(),
        packages: Vec::new(),
    };
    // The quote was signed by the key of this very TPM, over our nonce.
    verdict.vector.affirm(Claim::InstanceIdentity, 2);
    let release = kernel::release(evidence.values, published);
    match BootLog::read(evidence.boot_log) {
        Ok(log) => {
            replayed(&mut verdict, &log, evidence.values);
            let values = release.map(|release| &*release.values);
            firmware::secure_boot(&mut verdict, &log, values, policy);
            firmware::images(&mut verdict, &log, values, published);
            firmware::cards(&mut verdict, &log, values);
            firmware::code(&mut verdict, evidence.values, values);
            kernel::image(&mut verdict, &log, evidence.values, release, published);
        }
        Err(error) => verdict.lower(Claim::Executables, vector::UNPROVEN, error.to_string()),
    }
    match package_log::read(evidence.package_log) {
        Ok(all) => packages::launched(&mut verdict, evidence.values, all, release, published, policy),
        Err(error) => verdict.lower(Claim::FileSystem, vector::UNPROVEN, error.to_string()),
    }
    if let Some(release) = release {
        allowed(&mut verdict, release, policy);
    }
    verdict
}

/// The firmware's log accounts for every PCR that it is about.
fn replayed(verdict: &mut Appraisal, log: &BootLog, values: &BTreeMap<u32, Digest>) {
    let from_log = log.replay();
    let about = values.iter().filter(|(pcr, _)| **pcr != package_log::PCR);
    for (pcr, value) in about {
        let logged = from_log.get(pcr).copied().unwrap_or(Digest::ZERO);
        if logged != *value {
            let reason = format!(
                "the event log does not account for PCR {pcr}: an event was removed, added, moved or altered; \
                 the TPM has {value}, the log makes {logged}"
            );
            verdict.lower(Claim::Executables, vector::UNPROVEN, reason);
        }
        verdict.measured(
            format!("event log, PCR {pcr}"),
            vec![logged.to_string()],
            value.to_string(),
            logged == *value,
        );
    }
}

/// The policy lets this release run.
fn allowed(verdict: &mut Appraisal, release: &Published, policy: &Policy) {
    let name = &release.name;
    let version = &release.values.release;
    if release.withdrawn {
        verdict.lower(Claim::Executables, 96, format!("release {name} was withdrawn"));
    }
    if !policy.releases.is_empty() && !policy.releases.contains(name) {
        verdict.lower(Claim::Executables, 96, format!("release {name} is not one that the group may run"));
    }
    if let Some(min) = &policy.version_min
        && reference::version(version) < reference::version(min)
    {
        let reason = format!(
            "release {name} is version {version}, older than {min}, the oldest that the group may run"
        );
        verdict.lower(Claim::Executables, 96, reason);
    }
    let debug = release.values.is_debug();
    verdict.measured(
        "debug build",
        if policy.debug { vec![] } else { vec!["no".to_owned()] },
        yes(debug),
        policy.debug || !debug,
    );
    if debug && !policy.debug {
        verdict.lower(Claim::Configuration, 96, format!("release {name} is a build for developers"));
    } else if debug {
        verdict.lower(
            Claim::Configuration,
            32,
            format!("release {name} is a build for developers, which the group's policy allows"),
        );
    }
    verdict.release = Some(name.clone());
    verdict.version = Some(version.clone());
}

fn yes(what: bool) -> &'static str {
    if what { "yes" } else { "no" }
}
