//! `fuzz_entries::sandboxd::ledger`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::sandboxd::ledger);
