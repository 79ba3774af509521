//! `fuzz_entries::bus::handover`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::bus::handover);
