//! `fuzz_entries::bus::reply`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::bus::reply);
