//! `fuzz_entries::bus::session`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::bus::session);
