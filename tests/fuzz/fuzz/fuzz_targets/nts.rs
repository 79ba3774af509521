//! `fuzz_entries::time::nts`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::time::nts);
