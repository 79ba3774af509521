//! `fuzz_entries::package::image`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::package::image);
