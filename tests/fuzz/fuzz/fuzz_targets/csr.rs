//! `fuzz_entries::service::csr`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::service::csr);
