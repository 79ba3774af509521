//! `fuzz_entries::evidence::reference`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::evidence::reference);
