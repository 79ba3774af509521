//! `fuzz_entries::evidence::packagelog`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::evidence::packagelog);
