//! `fuzz_entries::evidence::bootlog`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::evidence::bootlog);
