//! `fuzz_entries::net::netlink`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::net::netlink);
