//! `fuzz_entries::payload::segment`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::payload::segment);
