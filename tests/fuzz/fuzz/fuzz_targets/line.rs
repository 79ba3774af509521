//! `fuzz_entries::sandboxd::line`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::line);
