//! `fuzz_entries::bus::control`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::bus::control);
