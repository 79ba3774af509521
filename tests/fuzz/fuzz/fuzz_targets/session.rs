//! `cargo fuzz run session`: see `fuzz_entries::session`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_entries::session(bytes));
