//! The evidence of a real boot, by firmware, boot loader, stub and kernel that others wrote; and what somebody might make of
//! it. `tests/data/README.md` says where it comes from.
#![cfg(feature = "appraise")]

use anyhow::{Context, Result, ensure};
use evidence::appraise::{Appraisal, Claim, Evidence, Policy, Published, Tier, appraise};
use evidence::bootlog::{BootLog, Event, Meaning, kind};
use evidence::packages::{self, Package};
use evidence::reference::{Audience, ReferenceValues};
use evidence::tpm::{Public, Selection, check_quote};
use evidence::{Digest, ear};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const BOOT_LOG: &[u8] = include_bytes!("data/boot.log");
const REFERENCE: &[u8] = include_bytes!("data/reference.json");
const NONCE: [u8; 32] = [0xa5; 32];

/// What the device launched before it was asked.
fn pump() -> Package {
    let (manifest, root) = (Digest::of(b"manifest"), Some(Digest::of(b"root")));
    Package { app: "org.example.pump".to_owned(), manifest, root, version: "1.4.0".to_owned() }
}

fn package_log(all: &[Package]) -> Vec<u8> {
    let records = all.iter().enumerate().map(|(number, package)| package.record(number).unwrap_or_default());
    records.flat_map(|record| [record.as_bytes(), b"\n"].concat()).collect()
}

/// The values that the device had, as its kernel said; those that were quoted.
fn quoted() -> Result<BTreeMap<u32, Digest>> {
    let text = include_str!("data/pcrs");
    let line = |line: &str| -> Result<(u32, Digest)> {
        let (pcr, value) = line.split_once(' ').context("no value")?;
        Ok((pcr.parse()?, value.to_lowercase().parse()?))
    };
    text.lines().map(line).collect()
}

fn published() -> Result<Published> {
    Ok(Published {
        name: "gabion-0.1.0".to_owned(),
        withdrawn: false,
        values: Arc::new(ReferenceValues::read(REFERENCE)?),
    })
}

fn values_of(release: &mut Published) -> &mut ReferenceValues {
    Arc::make_mut(&mut release.values)
}

/// A device: what it says, and what its TPM holds.
struct Device {
    events: Vec<Event>,
    packages: Vec<Package>,
    values: BTreeMap<u32, Digest>,
}

impl Device {
    fn real() -> Result<Self> {
        Ok(Self { events: BootLog::read(BOOT_LOG)?.events, packages: vec![pump()], values: quoted()? })
    }

    /// What its TPM would hold if this was what it had started.
    fn started(mut self) -> Result<Self> {
        self.values = BootLog { events: self.events.clone() }.replay();
        self.values.retain(|pcr, _| Selection::DEVICE.has(*pcr));
        self.values.insert(packages::PCR, packages::replay(&self.packages)?);
        Ok(self)
    }

    fn log(&self) -> Vec<u8> {
        written(&self.events)
    }

    fn judged(&self, published: &[Published], policy: &Policy) -> Appraisal {
        let (boot_log, package_log) = (self.log(), package_log(&self.packages));
        let evidence = Evidence { values: &self.values, boot_log: &boot_log, package_log: &package_log };
        appraise(evidence, published, policy)
    }

    /// It is refused, and this is said.
    fn refused(&self, because: &str) -> Result<Appraisal> {
        let verdict = self.judged(&[published()?], &Policy::default());
        ensure!(!verdict.passes(), "it passes");
        said(&verdict, because)?;
        Ok(verdict)
    }

    fn find(&self, which: impl Fn(&Event) -> bool) -> Result<usize> {
        self.events.iter().position(which).context("no such event")
    }
}

fn said(verdict: &Appraisal, because: &str) -> Result<()> {
    ensure!(verdict.reasons.iter().any(|reason| reason.contains(because)), "{:#?}", verdict.reasons);
    Ok(())
}

/// A log as the firmware of the board writes it: SHA-256 alone.
fn written(events: &[Event]) -> Vec<u8> {
    // A digest of SHA-1, and an event that names one algorithm.
    const HEADER: usize = 4 + 4 + 20 + 4 + 33;
    let mut log = BOOT_LOG[..HEADER].to_vec();
    for event in events {
        for number in [event.pcr, event.kind, 1] {
            log.extend(number.to_le_bytes());
        }
        log.extend(0x000b_u16.to_le_bytes());
        log.extend(event.digest.0);
        let length = u32::try_from(event.data.len()).unwrap_or(u32::MAX);
        log.extend(length.to_le_bytes());
        log.extend(&event.data);
    }
    log
}

#[test]
fn evidence_of_a_real_boot_is_affirmed() -> Result<()> {
    let device = Device::real()?;
    assert_eq!(device.log(), BOOT_LOG, "the tests write logs as the firmware does");
    let ak = Public::read(include_bytes!("data/ak.pub").get(2..).context("no key")?)?;
    let (quote, signature) = (include_bytes!("data/quote"), include_bytes!("data/signature"));
    let statement = check_quote(&ak, quote, signature, &NONCE, Selection::DEVICE, &device.values)?;
    assert!(statement.clock.safe);

    let verdict = device.judged(&[published()?], &Policy::default());
    assert_eq!(verdict.reasons, [""; 0]);
    assert_eq!(verdict.status(), Tier::Affirming);
    assert_eq!(verdict.release.as_deref(), Some("gabion-0.1.0"));
    assert_eq!(verdict.packages, [pump()]);
    assert!(verdict.measurements.iter().all(|measurement| measurement.passed));
    assert_eq!(verdict.vector.value(Claim::Executables), 3);
    for measurement in &verdict.measurements {
        println!("{}: {} (expected {:?})", measurement.name, measurement.seen, measurement.expected);
    }
    Ok(())
}

#[test]
fn log_with_an_event_removed_altered_or_moved_is_refused_wherever_it_is() -> Result<()> {
    let quoted_pcrs = |event: &Event| event.extends() && Selection::DEVICE.has(event.pcr);
    let count = Device::real()?.events.len();
    for at in 0..count {
        let mut device = Device::real()?;
        if !quoted_pcrs(&device.events[at]) {
            continue;
        }
        let pcr = device.events[at].pcr;
        let because = format!("does not account for PCR {pcr}");
        device.events[at].digest.0[31] ^= 1;
        device.refused(&because)?;
        device.events.remove(at);
        device.refused(&because)?;
        let mut device = Device::real()?;
        let twin = device.events[at].digest;
        let other =
            device.events.iter().skip(at + 1).position(|other| other.pcr == pcr && other.digest != twin);
        if let Some(other) = other {
            device.events.swap(at, at + 1 + other);
            device.refused(&because)?;
        }
    }
    Ok(())
}

#[test]
fn log_cut_anywhere_is_refused() -> Result<()> {
    let (device, published) = (Device::real()?, [published()?]);
    let packages = package_log(&device.packages);
    for length in (0..BOOT_LOG.len()).step_by(97) {
        let evidence =
            Evidence { values: &device.values, boot_log: &BOOT_LOG[..length], package_log: &packages };
        assert!(!appraise(evidence, &published, &Policy::default()).passes(), "{length} bytes");
    }
    Ok(())
}

#[test]
fn board_without_secure_boot_is_refused_unless_the_policy_allows_it() -> Result<()> {
    let mut device = Device::real()?;
    let at =
        device.find(|event| matches!(event.meaning(), Meaning::Variable(v) if v.name == "SecureBoot"))?;
    *device.events[at].data.last_mut().context("no value")? = 0;
    // The data alone: the digest says otherwise, so the event is not understood.
    device.refused("is not understood")?;
    device.events[at].digest = Digest::of(&device.events[at].data);
    let device = device.started()?;
    device.refused("Secure Boot is off")?;
    let policy = Policy { secure_boot: false, ..Policy::default() };
    let verdict = device.judged(&[published()?], &policy);
    assert_eq!(verdict.status(), Tier::Warning);
    said(&verdict, "Secure Boot is off, which the group's policy allows")
}

#[test]
fn board_with_other_keys_is_refused_where_the_release_names_its_keys() -> Result<()> {
    let device = Device::real()?;
    let mut release = published()?;
    let at = device.find(|event| matches!(event.meaning(), Meaning::Variable(v) if v.name == "db"))?;
    let Meaning::Variable(db) = device.events[at].meaning() else { anyhow::bail!("no variable") };
    let own = BTreeSet::from([Digest::of(db.value)]);
    values_of(&mut release).secure_boot = BTreeMap::from([("db".to_owned(), own)]);
    assert!(device.judged(&[release.clone()], &Policy::default()).passes());
    values_of(&mut release).secure_boot = BTreeMap::from([("db".to_owned(), BTreeSet::from([Digest::ZERO]))]);
    let verdict = device.judged(&[release], &Policy::default());
    assert!(!verdict.passes());
    said(&verdict, "the Secure Boot variable db is not the release's")
}

#[test]
fn image_allowed_by_what_is_not_in_db_is_refused() -> Result<()> {
    let mut device = Device::real()?;
    let at = device.find(|event| matches!(event.meaning(), Meaning::Authority(_)))?;
    *device.events[at].data.last_mut().context("no value")? ^= 1;
    device.events[at].digest = Digest::of(&device.events[at].data);
    device.started()?.refused("allowed by something that is not in db")?;
    Ok(())
}

#[test]
fn image_that_no_release_names_is_refused_whatever_the_log_calls_it() -> Result<()> {
    // What the hash is of is up to who made the log: an image can be called a step, its bytes being the step's text.
    let image = b"MZ shell".to_vec();
    let digest = Digest::of(&image);
    for kind in [kind::APPLICATION, kind::ACTION, kind::SEPARATOR, kind::IPL, 0x7777] {
        let mut device = Device::real()?;
        let at = device.find(|event| event.pcr == 4 && event.kind == kind::APPLICATION)?;
        device.events.insert(at, Event { number: 0, pcr: 4, kind, digest, data: image.clone() });
        device.started()?.refused("started something that is not of a known release")?;
    }
    Ok(())
}

#[test]
fn verdict_on_a_log_full_of_faults_is_bounded() -> Result<()> {
    let mut device = Device::real()?;
    let images = (0..900_u32).map(|n| Digest::of(&n.to_le_bytes()));
    device.events.extend(images.map(|digest| Event {
        number: 0,
        pcr: 4,
        kind: kind::APPLICATION,
        digest,
        data: Vec::new(),
    }));
    let verdict = device.started()?.refused("and more")?;
    assert_eq!((verdict.reasons.len(), verdict.measurements.len()), (33, 256));
    Ok(())
}

#[test]
fn program_that_extends_pcr_11_as_the_kernel_image_would_is_refused() -> Result<()> {
    let mut device = Device::real()?;
    let release = published()?;
    let at = device.find(|event| event.digest == release.values.kernel_image)?;
    device.events.remove(at);
    device.started()?.refused("did not start the kernel image")?;
    Ok(())
}

#[test]
fn driver_of_an_expansion_card_is_a_warning_unless_the_release_names_it() -> Result<()> {
    let mut device = Device::real()?;
    let digest = Digest::of(b"driver");
    let at = device.find(|event| event.pcr == 2)?;
    let driver = Event { number: 0, pcr: 2, kind: kind::BOOT_DRIVER, digest, data: Vec::new() };
    device.events.insert(at, driver);
    let device = device.started()?;
    let verdict = device.judged(&[published()?], &Policy::default());
    assert_eq!(verdict.status(), Tier::Warning);
    said(&verdict, "came with an expansion card: EFI image of no file")?;
    let mut release = published()?;
    values_of(&mut release).images.insert(digest);
    assert_eq!(device.judged(&[release.clone()], &Policy::default()).status(), Tier::Affirming);
    let own = device.values.get(&2).copied().context("no PCR 2")?;
    values_of(&mut release).images.clear();
    values_of(&mut release).firmware = BTreeMap::from([("2".to_owned(), BTreeSet::from([own]))]);
    let verdict = device.judged(&[release.clone()], &Policy::default());
    assert_eq!((verdict.status(), verdict.vector.value(Claim::Hardware)), (Tier::Affirming, 2));
    values_of(&mut release).firmware = BTreeMap::from([("2".to_owned(), BTreeSet::from([Digest::ZERO]))]);
    let verdict = device.judged(&[release], &Policy::default());
    assert!(!verdict.passes());
    said(&verdict, "PCR 2 is not of a known firmware")
}

#[test]
fn kernel_command_line_altered_is_refused_and_named() -> Result<()> {
    let mut device = Device::real()?;
    let name = Digest::of(b".cmdline\0");
    let at = device.find(|event| event.pcr == 11 && event.digest == name)?;
    device.events[at + 1].digest = Digest::of(b"init=/bin/sh");
    let verdict = device.started()?.refused("the kernel command line was altered")?;
    said(&verdict, "PCR 11 is not of any published release")?;
    said(&verdict, &format!("release gabion-0.1.0 would be {}", published()?.values.pcr11()))?;
    assert_eq!(verdict.release, None);
    Ok(())
}

#[test]
fn kernel_given_something_besides_is_refused() -> Result<()> {
    let mut device = Device::real()?;
    let data: Vec<u8> = "init=/bin/sh\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let given = Event { number: 0, pcr: 12, kind: kind::IPL, digest: Digest::of(&data), data };
    device.events.push(given.clone());
    device.started()?.refused("not in its image (PCR 12): \"init=/bin/sh\"")?;
    let mut unsaid = Device::real()?;
    unsaid.events.push(Event { data: Vec::new(), ..given });
    unsaid.started()?.refused("not in its image (PCR 12): something that a boot loader measured")?;
    Ok(())
}

#[test]
fn release_that_the_policy_does_not_let_run_is_refused_with_its_reason() -> Result<()> {
    let device = Device::real()?;
    let with = |change: fn(&mut Published, &mut Policy), because: &str| -> Result<Appraisal> {
        let (mut release, mut policy) = (published()?, Policy::default());
        change(&mut release, &mut policy);
        let verdict = device.judged(&[release], &policy);
        said(&verdict, because)?;
        Ok(verdict)
    };
    assert!(!with(|release, _| release.withdrawn = true, "was withdrawn")?.passes());
    let old = |_: &mut Published, policy: &mut Policy| policy.version_min = Some("0.2".to_owned());
    assert!(!with(old, "older than 0.2")?.passes());
    let other = |_: &mut Published, policy: &mut Policy| policy.releases = BTreeSet::from(["x".to_owned()]);
    assert!(!with(other, "not one that the group may run")?.passes());
    let debug = |release: &mut Published, _: &mut Policy| values_of(release).audience = Audience::Developers;
    assert!(!with(debug, "is a build for developers")?.passes());
    let allowed = |release: &mut Published, policy: &mut Policy| {
        values_of(release).audience = Audience::Developers;
        policy.debug = true;
    };
    assert_eq!(with(allowed, "which the group's policy allows")?.status(), Tier::Warning);
    let none = device.judged(&[], &Policy::default());
    assert!(!none.passes());
    said(&none, "nothing is published")
}

#[test]
fn package_removed_from_the_log_or_unknown_to_a_strict_policy_is_refused() -> Result<()> {
    let mut device = Device::real()?;
    let strict = Policy { known_packages: true, ..Policy::default() };
    let verdict = device.judged(&[published()?], &strict);
    assert!(!verdict.passes());
    said(&verdict, "org.example.pump 1.4.0")?;
    let mut release = published()?;
    values_of(&mut release).packages = BTreeSet::from([pump()]);
    let verdict = device.judged(&[release], &strict);
    assert_eq!((verdict.status(), verdict.vector.value(Claim::FileSystem)), (Tier::Affirming, 2));
    device.packages.clear();
    device.refused("the package log does not account for PCR 13")?;
    Ok(())
}

#[test]
fn note_of_the_startup_locality_counts_before_anything_else_only() -> Result<()> {
    let note = || Event {
        number: 0,
        pcr: 0,
        kind: kind::NO_ACTION,
        digest: Digest::ZERO,
        data: b"StartupLocality\0\x03".to_vec(),
    };
    let mut first = Digest::ZERO;
    first.0[31] = 3;
    let log = |events: &[Event]| Ok::<_, anyhow::Error>(BootLog::read(&written(events))?.replay());
    assert_eq!(log(&[note()])?.get(&0), Some(&first));
    let real = Device::real()?;
    let mut late = real.events.clone();
    late.push(note());
    assert_eq!(log(&late)?, log(&real.events)?);
    late.rotate_right(1);
    assert_ne!(log(&late)?.get(&0), log(&real.events)?.get(&0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a log says: its replay is what its digests make, event by event.
    #[test]
    fn log_made_up_replays_to_what_its_digests_make(made in proptest::collection::vec((0_u32..24, any::<[u8; 32]>(), 0_u32..16, any::<Vec<u8>>()), 0..32)) {
        let event = |(pcr, digest, kind, data)| Event { number: 0, pcr, kind, digest: Digest(digest), data };
        let events: Vec<Event> = made.into_iter().map(event).collect();
        let log = BootLog::read(&written(&events));
        let log = log.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut values = BTreeMap::new();
        for event in events.iter().filter(|event| event.kind != kind::NO_ACTION && event.pcr < 16) {
            let value: &mut Digest = values.entry(event.pcr).or_insert(Digest::ZERO);
            *value = value.extended(&event.digest);
        }
        for (pcr, value) in log.replay() {
            prop_assert_eq!(value, values.get(&pcr).copied().unwrap_or(Digest::ZERO));
        }
        prop_assert!(log.events.iter().all(|event| event.title().len() < 160));
    }
}

#[test]
fn verdict_of_a_real_boot_is_signed_and_checked() -> Result<()> {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    let random = ring::rand::SystemRandom::new();
    let made =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok().context("no key")?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
    let key = key.ok().context("no key")?;
    let verdict = Device::real()?.judged(&[published()?], &Policy::default());
    let context =
        ear::Context { issued_at: 1, device: &Digest::ZERO, nonce: &NONCE, policy: "strict", build: "test" };
    let token = ear::sign(&verdict, &context, &key, "k", &random)?;
    let claims = ear::verify(&token, key.public_key().as_ref())?;
    let device = &claims["submods"]["device"];
    assert_eq!(device["ear_status"], "affirming");
    assert_eq!(device["ear_trustworthiness_vector"]["executables"], 3);
    assert_eq!(device["os.gabion.release"], "gabion-0.1.0");
    Ok(())
}
