//! `fuzz_entries::net::answer`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::net::answer);
