//! `fuzz_entries::update::update`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::update::update);
