//! `cargo fuzz run call`: see `fuzz_entries::call`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_entries::call(bytes));
