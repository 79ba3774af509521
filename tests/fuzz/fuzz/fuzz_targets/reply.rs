//! `cargo fuzz run reply`: see `fuzz_entries::reply`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_entries::reply(bytes));
