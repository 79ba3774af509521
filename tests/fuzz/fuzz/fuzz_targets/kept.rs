//! `fuzz_entries::policy::kept`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::policy::kept);
