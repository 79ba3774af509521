//! Which release's kernel image runs (PCR 11), and whether it was given anything besides (PCR 12).
//!
//! PCR 11 alone proves nothing: any program may extend it before the kernel is started. It counts because `firmware`
//! accounts for every image that was started.

use super::Appraisal;
use super::Published;
use super::vector::Claim;
use crate::Digest;
use crate::bootlog::{BootLog, Event};
use std::collections::BTreeMap;

const IMAGE_PCR: u32 = 11;
const EXTRAS_PCR: u32 = 12;
/// The kernel's word for a sealed `/data`.
const SEALED: &str = "GABION_TPM=1";

/// The published release with this PCR 11; of several the one that is not withdrawn.
pub(super) fn release<'a>(
    values: &BTreeMap<u32, Digest>,
    published: &'a [Published],
) -> Option<&'a Published> {
    let seen = values.get(&IMAGE_PCR)?;
    published.iter().filter(|release| release.values.pcr11() == *seen).min_by_key(|release| release.withdrawn)
}

pub(super) fn image(
    verdict: &mut Appraisal,
    log: &BootLog,
    values: &BTreeMap<u32, Digest>,
    release: Option<&Published>,
    published: &[Published],
) {
    let seen = values.get(&IMAGE_PCR).copied().unwrap_or(Digest::ZERO);
    let nearest = release.or_else(|| nearest(log, published));
    let expected = nearest.map(|near| near.values.pcr11().to_string()).into_iter().collect();
    verdict.measured("PCR 11 (kernel image)", expected, seen.to_string(), release.is_some());
    match release {
        Some(release) => {
            verdict.vector.affirm(Claim::Executables, 3);
            if release.values.command_line.split(' ').any(|word| word == SEALED) {
                verdict.vector.affirm(Claim::StorageOpaque, 2);
            }
        }
        None => unknown(verdict, log, seen, nearest),
    }
    extras(verdict, log, values, nearest);
}

/// PCR 12: nothing, or the image's own command line, which systemd-boot hands to the stub and both of them measure as UTF-16.
fn extras(
    verdict: &mut Appraisal,
    log: &BootLog,
    values: &BTreeMap<u32, Digest>,
    release: Option<&Published>,
) {
    let seen = values.get(&EXTRAS_PCR).copied().unwrap_or(Digest::ZERO);
    let own = release.map(|release| utf16(&release.values.command_line));
    let expected = [Some(Digest::ZERO), own.map(|own| Digest::ZERO.extended(&own))];
    let expected: Vec<Digest> = expected.into_iter().flatten().collect();
    let passed = expected.contains(&seen);
    if !passed {
        let mut given = log.of_pcr(EXTRAS_PCR).filter(|event| Some(event.digest) != own);
        let what = given.next().map_or("what the log does not say".to_owned(), Event::text);
        let reason = format!("the kernel was given something that is not in its image (PCR 12): {what}");
        verdict.lower(Claim::Configuration, 96, reason);
    }
    let expected = expected.iter().map(ToString::to_string).collect();
    verdict.measured("PCR 12 (given to the kernel besides)", expected, seen.to_string(), passed);
}

/// What is hashed of a command line: its final zero as well.
fn utf16(text: &str) -> Digest {
    let bytes: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    Digest::of(&bytes)
}

/// The release that somebody most likely tried to run: its kernel image was started, or it is the newest.
fn nearest<'a>(log: &BootLog, published: &'a [Published]) -> Option<&'a Published> {
    let started =
        |release: &&Published| log.events.iter().any(|event| event.digest == release.values.kernel_image);
    let newest = || published.iter().max_by_key(|release| crate::reference::version(&release.values.release));
    published.iter().find(started).or_else(newest)
}

fn unknown(verdict: &mut Appraisal, log: &BootLog, seen: Digest, nearest: Option<&Published>) {
    let would = nearest.map_or("nothing is published".to_owned(), |near| {
        format!("release {} would be {}", near.name, near.values.pcr11())
    });
    let reason = format!("PCR 11 is not of any published release: seen {seen}; {would}");
    verdict.lower(Claim::Executables, 96, reason);
    if seen == Digest::ZERO {
        verdict.lower(Claim::Executables, 96, "no kernel image was measured".to_owned());
    }
    let Some(near) = nearest else { return };
    let expected = Digest::of(near.values.command_line.as_bytes());
    let Some(command_line) = section(log, ".cmdline") else { return };
    verdict.measured(
        "kernel command line",
        vec![expected.to_string()],
        command_line.to_string(),
        command_line == expected,
    );
    if command_line != expected {
        let reason = format!(
            "the kernel command line was altered: its hash is {command_line}; release {}'s is {expected}, of \"{}\"",
            near.name, near.values.command_line
        );
        verdict.lower(Claim::Configuration, 96, reason);
    }
}

/// The digest of a section of the kernel image: what was measured behind its name.
fn section(log: &BootLog, name: &str) -> Option<Digest> {
    let name = Digest::of(&[name.as_bytes(), &[0]].concat());
    let mut events = log.of_pcr(IMAGE_PCR);
    events.find(|event| event.digest == name)?;
    events.next().map(|event| event.digest)
}
