//! `fuzz_entries::attest::attestlink`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::attest::attestlink);
