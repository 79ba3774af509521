//! `fuzz_entries::package::gab`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::package::gab);
