//! `fuzz_entries::bus::desk`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::bus::desk);
