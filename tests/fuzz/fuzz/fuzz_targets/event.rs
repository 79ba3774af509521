//! `fuzz_entries::init::event`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::init::event);
