//! `fuzz_entries::disk::kernelimage`, run by libFuzzer.

#![no_main]

gabion_fuzz::target!(fuzz_entries::disk::kernelimage);
