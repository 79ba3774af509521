//! `fuzz_entries::policy::manifest`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::policy::manifest);
