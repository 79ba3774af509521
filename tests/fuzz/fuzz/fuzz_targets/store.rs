//! `fuzz_entries::sandboxd::store`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::store);
