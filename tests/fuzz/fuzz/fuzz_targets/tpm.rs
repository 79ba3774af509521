//! `fuzz_entries::attest::tpm`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::attest::tpm);
