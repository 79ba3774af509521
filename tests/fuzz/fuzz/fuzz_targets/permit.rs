//! `fuzz_entries::attest::permit`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::attest::permit);
