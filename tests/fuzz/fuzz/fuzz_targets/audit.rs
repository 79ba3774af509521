//! `fuzz_entries::sandboxd::audit`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::audit);
