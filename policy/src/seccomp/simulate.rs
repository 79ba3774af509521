//! The BPF machine of the tests, later.
