//! `fuzz_entries::policy::plan`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::policy::plan);
