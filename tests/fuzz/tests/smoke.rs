//! A bounded run of every target: each seed, and mutations of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use fuzz_entries::{Entry, TARGETS};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Mutations of each seed.
const CASES: u32 = 400;

fn seeds(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let seeds = entries.map(|entry| Ok(fs::read(entry?.path())?)).collect::<Result<Vec<_>>>()?;
    anyhow::ensure!(!seeds.is_empty(), "no seed for {target}");
    Ok(seeds)
}

/// Bytes replaced, put in, taken out, repeated.
fn mutations() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, u8)>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\":,\\\0 \n019au"[..])];
    prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), byte), 1..8)
}

fn mutated(seed: &[u8], mutations: &[(u8, prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (kind, place, byte) in mutations {
        if bytes.is_empty() {
            bytes.push(*byte);
        }
        let at = place.index(bytes.len());
        match kind {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 => drop(bytes.drain(at..(at + usize::from(*byte % 16)).min(bytes.len()))),
            _ => bytes.extend_from_within(at..),
        }
        bytes.truncate(8192);
    }
    bytes
}

fn run(entry: Entry, seed: &[u8]) -> Result<()> {
    entry(seed);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let all = runner.run(&mutations(), |mutations| {
        entry(&mutated(seed, &mutations));
        Ok(())
    });
    all.map_err(|error| anyhow::anyhow!("{error}\nof {}", seed.escape_ascii()))
}

#[test]
fn every_target_stands_its_seeds_and_their_mutations() -> Result<()> {
    for &(name, entry) in TARGETS {
        for seed in seeds(name)? {
            run(entry, &seed).with_context(|| name)?;
        }
    }
    Ok(())
}

#[test]
fn every_target_has_a_place_for_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for &(name, _) in TARGETS {
        assert!(folder.join(name).with_extension("rs").exists(), "{name}");
    }
}
