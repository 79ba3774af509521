//! `fuzz_entries::attest::sealed`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::attest::sealed);
