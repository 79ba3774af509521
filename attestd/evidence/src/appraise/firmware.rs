//! What the firmware measured: Secure Boot (PCR 7), the images that it started (PCR 4), its own code and that of cards
//! (PCRs 0 to 3).
//!
//! An event counts for what its digest proves (`bootlog`); one that is not understood in PCR 4 or 7 is a fault, because it
//! may be anything.

use super::vector::{Claim, UNPROVEN};
use super::{Appraisal, Policy, Published, yes};
use crate::Digest;
use crate::bootlog::{BootLog, Event, Meaning, Variable, signatures};
use crate::reference::ReferenceValues;
use std::collections::{BTreeMap, BTreeSet};

const SECURE_BOOT_PCR: u32 = 7;
const IMAGES_PCR: u32 = 4;
const CARDS_PCR: u32 = 2;
/// `EFI_GLOBAL_VARIABLE`, which SecureBoot, PK and KEK are in.
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`, which db and dbx are in.
const DATABASE: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// What a firmware says in PCR 4 besides images (TCG PC Client Platform Firmware Profile, 3.3.4.5 and 10.4.4).
const STEPS: [&str; 2] =
    ["Calling EFI Application from Boot Option", "Returning from EFI Application from Boot Option"];

/// The state of Secure Boot as the log proves it.
#[derive(Default)]
struct SecureBoot<'a> {
    /// Each variable's value; the first that was measured counts, a second one is a fault.
    variables: BTreeMap<&'static str, &'a [u8]>,
    faults: Vec<String>,
}

/// Secure Boot is on, with known keys, and let only images start that its database allows.
pub(super) fn secure_boot(
    verdict: &mut Appraisal,
    log: &BootLog,
    values: Option<&ReferenceValues>,
    policy: &Policy,
) {
    let state = state(log);
    let on = state.variables.get("SecureBoot") == Some(&&[1][..]);
    let expected = if policy.secure_boot { vec!["yes".to_owned()] } else { Vec::new() };
    verdict.measured("Secure Boot", expected, yes(on), on || !policy.secure_boot);
    let value = if policy.secure_boot { 96 } else { 32 };
    if !on {
        let allowed = if policy.secure_boot { "" } else { ", which the group's policy allows" };
        verdict.lower(Claim::Configuration, value, format!("Secure Boot is off{allowed}"));
    }
    for fault in state.faults {
        verdict.lower(Claim::Configuration, value, fault);
    }
    let known = values.map(|values| &values.secure_boot).into_iter().flatten();
    for (name, allowed) in known {
        let seen = state.variables.get(name.as_str()).map(|value| Digest::of(value));
        let passed = seen.is_some_and(|seen| allowed.contains(&seen));
        let shown = seen.map_or("not measured".to_owned(), |seen| seen.to_string());
        if !passed {
            let reason = format!(
                "the Secure Boot variable {name} is not the release's: seen {shown}, expected {}",
                list(allowed)
            );
            verdict.lower(Claim::Configuration, value, reason);
        }
        verdict.measured(format!("Secure Boot variable {name}"), strings(allowed), shown, passed);
    }
    verdict.vector.affirm(Claim::Configuration, 2);
}

fn state(log: &BootLog) -> SecureBoot<'_> {
    let mut state = SecureBoot::default();
    for event in log.of_pcr(SECURE_BOOT_PCR) {
        match event.meaning() {
            Meaning::Variable(variable) => state.configured(event, &variable),
            Meaning::Authority(authority) => state.authorised(event, &authority),
            Meaning::Separator(true) => {}
            _ => state.faults.push(format!(
                "event {} in PCR 7 is not understood: {}",
                event.number,
                event.title()
            )),
        }
    }
    state
}

impl<'a> SecureBoot<'a> {
    fn configured(&mut self, event: &Event, variable: &Variable<'a>) {
        let known = [
            ("SecureBoot", GLOBAL),
            ("PK", GLOBAL),
            ("KEK", GLOBAL),
            ("db", DATABASE),
            ("dbx", DATABASE),
            ("dbt", DATABASE),
            ("dbr", DATABASE),
            // Measured by newer firmware; they only say how the keys may be changed.
            ("SetupMode", GLOBAL),
            ("AuditMode", GLOBAL),
            ("DeployedMode", GLOBAL),
        ];
        let known =
            known.into_iter().find(|(name, vendor)| *name == variable.name && *vendor == variable.vendor);
        let fault = match known {
            Some((name, _)) => {
                self.variables.insert(name, variable.value).is_some().then_some("measured twice")
            }
            None => Some("not one of Secure Boot's"),
        };
        if let Some(fault) = fault {
            self.faults
                .push(format!("event {} in PCR 7: variable {} was {fault}", event.number, variable.name));
        }
    }

    /// The entry that allowed an image is one of the database's that was measured before.
    fn authorised(&mut self, event: &Event, authority: &Variable<'_>) {
        let entries = self.variables.get("db").and_then(|db| signatures(db)).unwrap_or_default();
        let good =
            authority.name == "db" && authority.vendor == DATABASE && entries.contains(&authority.value);
        if !good {
            let what = format!(
                "event {} in PCR 7: an image was allowed by something that is not in db",
                event.number
            );
            self.faults.push(what);
        }
    }
}

/// The firmware started only what the release names.
pub(super) fn images(
    verdict: &mut Appraisal,
    log: &BootLog,
    values: Option<&ReferenceValues>,
    published: &[Published],
) {
    // Without a release it is still worth saying which images are of any.
    let of_any = || published.iter().map(|release| &*release.values).flat_map(of_release).collect();
    let known: BTreeMap<Digest, &str> = values.map_or_else(of_any, |values| of_release(values).collect());
    let mut seen = BTreeSet::new();
    for event in log.of_pcr(IMAGES_PCR) {
        match event.meaning() {
            Meaning::Separator(true) => {}
            Meaning::Action(step) if STEPS.contains(&step.as_str()) => {}
            // Whatever the log calls it: it is what has this hash.
            _ if known.contains_key(&event.digest) => {
                seen.insert(event.digest);
                let name = known.get(&event.digest).copied().unwrap_or_default();
                verdict.measured(name, vec![event.digest.to_string()], event.digest.to_string(), true);
            }
            _ => {
                let what = event.title();
                let reason = format!(
                    "the firmware started something that is not of a known release: {what} ({})",
                    event.digest
                );
                verdict.lower(Claim::Executables, 96, reason);
                verdict.measured(what, Vec::new(), event.digest.to_string(), false);
            }
        }
    }
    if let Some(values) = values
        && !seen.contains(&values.kernel_image)
    {
        let reason = format!(
            "the firmware did not start the kernel image of release {} ({})",
            values.release, values.kernel_image
        );
        verdict.lower(Claim::Executables, UNPROVEN, reason);
    }
}

fn of_release(values: &ReferenceValues) -> impl Iterator<Item = (Digest, &'static str)> {
    let others = values.images.iter().map(|image| (*image, "other EFI image"));
    [(values.boot_loader, "boot loader"), (values.kernel_image, "kernel image")].into_iter().chain(others)
}

/// What ran from expansion cards (PCR 2), which Secure Boot lets do so only if its database allows it. A release that names
/// values of PCR 2 is taken at those.
pub(super) fn cards(verdict: &mut Appraisal, log: &BootLog, values: Option<&ReferenceValues>) {
    let Some(values) = values.filter(|values| !values.firmware.contains_key("2")) else { return };
    for event in log.of_pcr(CARDS_PCR) {
        let expected =
            matches!(event.meaning(), Meaning::Separator(true)) || values.images.contains(&event.digest);
        if !expected {
            let what = event.title();
            let reason =
                format!("code that no release names came with an expansion card: {what} ({})", event.digest);
            verdict.lower(Claim::Hardware, 32, reason);
            verdict.measured(what, Vec::new(), event.digest.to_string(), true);
        }
    }
}

/// The firmware's own code and configuration have known values, where the reference values say any.
pub(super) fn code(verdict: &mut Appraisal, seen: &BTreeMap<u32, Digest>, values: Option<&ReferenceValues>) {
    let known = values.map(|values| &values.firmware).into_iter().flatten();
    for (pcr, allowed) in known {
        let value = pcr.parse().ok().and_then(|pcr: u32| seen.get(&pcr)).copied().unwrap_or(Digest::ZERO);
        let passed = allowed.contains(&value);
        if passed {
            verdict.vector.affirm(Claim::Hardware, 2);
        } else {
            let reason =
                format!("PCR {pcr} is not of a known firmware: seen {value}, expected {}", list(allowed));
            verdict.lower(Claim::Hardware, 97, reason);
        }
        verdict.measured(format!("PCR {pcr}"), strings(allowed), value.to_string(), passed);
    }
}

fn strings(values: &BTreeSet<Digest>) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn list(values: &BTreeSet<Digest>) -> String {
    strings(values).join(" or ")
}
