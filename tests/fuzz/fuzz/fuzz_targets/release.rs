//! `fuzz_entries::update::release`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::update::release);
