//! `fuzz_entries::net::advert`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::net::advert);
