//! `cargo fuzz run report`: see `fuzz_entries::report`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_entries::report(bytes));
