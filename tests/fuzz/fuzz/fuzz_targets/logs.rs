//! `fuzz_entries::sandboxd::logs`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::logs);
