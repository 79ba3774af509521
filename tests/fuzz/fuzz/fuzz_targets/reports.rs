//! `fuzz_entries::sandboxd::reports`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::reports);
