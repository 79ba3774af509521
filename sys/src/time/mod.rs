//! What keeping the clock needs: setting it, and random bytes, by which answers of time servers are known.

pub mod clock;
pub mod random;
