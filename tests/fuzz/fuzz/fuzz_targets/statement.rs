//! `fuzz_entries::evidence::statement`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::evidence::statement);
