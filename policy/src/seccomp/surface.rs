//! What a profile lets through to the kernel, counted from the compiled program and not from the tables.
//!
//! A syscall counts as reached if the program allows it with any of the arguments that are tried: constant ones, and for
//! each rule those that satisfy it and those that just break it; one whose answer cannot be told counts too. For `make surface` and for `docs/profiles.md`; not on
//! the device.

use super::compile::{ALLOW, ARCH};
use super::machine::{Data, run};
use super::{name, probe, profiles, programs};
use crate::facts::Facts;
use crate::manifest::{Manifest, SystemManifest};

/// Numbers tried: more than any kernel has.
const NUMBERS: u32 = 1024;

/// The syscalls that the box of this manifest reaches, by kernel name, in order of number.
pub fn reached(manifest: &Manifest) -> Vec<String> {
    of(&manifest.facts)
}

/// The same of one of the system's own boxes.
pub fn reached_by_system(manifest: &SystemManifest) -> Vec<String> {
    of(&manifest.manifest().facts)
}

/// As [`reached`], from facts.
pub(crate) fn of(facts: &Facts) -> Vec<String> {
    let programs = programs(facts);
    let allowed = profiles::allowed(facts);
    let passes = |number: u32| {
        let mut args = probe::anything().to_vec();
        args.extend(allowed.of(number.into()).map(probe::probes).unwrap_or_default());
        args.iter().any(|args| {
            let data = Data { number, arch: ARCH, args: *args };
            programs.iter().all(|program| run(program, &data).is_none_or(|action| action == ALLOW))
        })
    };
    let named = |number: u32| name(number.into()).map_or_else(|| number.to_string(), ToOwned::to_owned);
    (0..NUMBERS).filter(|number| passes(*number)).map(named).collect()
}
