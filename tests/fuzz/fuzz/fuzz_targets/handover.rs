//! `cargo fuzz run handover`: see `fuzz_entries::handover`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_entries::handover(bytes));
