//! `fuzz_entries::net::lease`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::net::lease);
