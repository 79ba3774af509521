//! `fuzz_entries::init::request`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::init::request);
