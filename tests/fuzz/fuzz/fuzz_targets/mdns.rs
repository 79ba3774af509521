//! `fuzz_entries::mdns::mdns`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::mdns::mdns);
