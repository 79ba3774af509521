//! The capability router, as a library for its tests.
