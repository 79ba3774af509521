//! `fuzz_entries::sandboxd::notify`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::notify);
