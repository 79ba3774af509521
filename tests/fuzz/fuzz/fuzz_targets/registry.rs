//! `fuzz_entries::sandboxd::registry`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::registry);
