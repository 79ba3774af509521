//! `cargo fuzz run control`: see `fuzz_entries::control`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_entries::control(bytes));
