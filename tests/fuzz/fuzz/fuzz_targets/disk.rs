//! `fuzz_entries::disk::disk`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::disk::disk);
