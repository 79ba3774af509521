//! `fuzz_entries::net::frame`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::net::frame);
