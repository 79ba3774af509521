//! The packages that were launched since the device booted (PCR 13).

use super::vector::{Claim, UNPROVEN};
use super::{Appraisal, Policy, Published, package_log};
use crate::Digest;
use crate::packages::Package;
use std::collections::BTreeMap;

pub(super) fn launched(
    verdict: &mut Appraisal,
    values: &BTreeMap<u32, Digest>,
    packages: Vec<Package>,
    release: Option<&Published>,
    published: &[Published],
    policy: &Policy,
) {
    let seen = values.get(&package_log::PCR).copied().unwrap_or(Digest::ZERO);
    // Every package that was read has a digest, so there is a replay.
    let logged = package_log::replay(&packages).unwrap_or(Digest::ZERO);
    verdict.measured("package log, PCR 13", vec![logged.to_string()], seen.to_string(), logged == seen);
    if logged != seen {
        let reason = format!(
            "the package log does not account for PCR 13: a record was removed, added, moved or altered; the TPM has \
             {seen}, the log makes {logged}"
        );
        verdict.lower(Claim::FileSystem, UNPROVEN, reason);
        return;
    }
    let mut all_known = true;
    for package in &packages {
        let known = is_known(package, release, published);
        all_known &= known;
        let name = format!("{} {}", package.app, package.version);
        let shown = package.root.as_ref().unwrap_or(&package.manifest).to_string();
        if !known && policy.known_packages {
            let reason = format!("{name} ({shown}) is not a package of any published release");
            verdict.lower(Claim::FileSystem, 96, reason);
        }
        let expected = if known { vec![shown.clone()] } else { Vec::new() };
        verdict.measured(name, expected, shown, known || !policy.known_packages);
    }
    if all_known {
        verdict.vector.affirm(Claim::FileSystem, 2);
    }
    verdict.packages = packages;
}

/// The release that runs names it, or another one that still counts: a published set of packages is a release too.
fn is_known(package: &Package, release: Option<&Published>, published: &[Published]) -> bool {
    let counting = published.iter().filter(|other| !other.withdrawn);
    release.into_iter().chain(counting).any(|other| other.values.packages.contains(package))
}
