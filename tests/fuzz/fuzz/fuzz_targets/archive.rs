//! `fuzz_entries::update::archive`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::update::archive);
