//! `fuzz_entries::sandboxd::cmdline`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::cmdline);
