//! `fuzz_entries::package::image`, run by libFuzzer.

#![no_main]

// A file of an image is decompressed as a whole, up to 2048 times the length of its index.
gabion_fuzz::target!(fuzz_entries::package::image, 64 << 20);
