//! `fuzz_entries::update::metadata`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::update::metadata);
