//! `fuzz_entries::bus::report`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::bus::report);
