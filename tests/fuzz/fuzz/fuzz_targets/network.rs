//! `fuzz_entries::net::network`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::net::network);
