//! What is around a target: the limit of memory that no input may make a parser pass, and libFuzzer.

#[doc(hidden)]
pub use {cap, libfuzzer_sys};

/// Bytes that a target may have allocated at any time, what it keeps for itself included. The longest message is 256 KiB, an
/// input of a fuzzer shorter; beyond this the allocation fails, and with it the target.
pub const HEAP_MAX: usize = 16 << 20;

/// A program for libFuzzer of a function that takes bytes.
#[macro_export]
macro_rules! target {
    ($entry:path) => {
        #[global_allocator]
        static HEAP: $crate::cap::Cap<std::alloc::System> =
            $crate::cap::Cap::new(std::alloc::System, $crate::HEAP_MAX);

        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $entry(bytes));
    };
}
