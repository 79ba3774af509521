//! `fuzz_entries::bus::devport`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::bus::devport);
