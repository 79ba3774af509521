//! `fuzz_entries::service::body`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::service::body);
