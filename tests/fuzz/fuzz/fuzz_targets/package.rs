//! `fuzz_entries::package::package`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::package::package);
