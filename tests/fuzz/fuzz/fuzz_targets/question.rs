//! `fuzz_entries::net::question`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::net::question);
