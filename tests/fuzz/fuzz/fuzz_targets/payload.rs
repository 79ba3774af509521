//! `fuzz_entries::payload::index`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::payload::index);
