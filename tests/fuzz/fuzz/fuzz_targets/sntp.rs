//! `fuzz_entries::time::sntp`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::time::sntp);
