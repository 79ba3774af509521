//! `fuzz_entries::attest::luks`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::attest::luks);
