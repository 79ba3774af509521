//! `fuzz_entries::bus::call`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::bus::call);
