//! What keeping the clock needs: setting it, when it must at least be, and random bytes, by which answers of time servers
//! are known.

mod built;
pub mod clock;
pub mod random;

pub use built::BUILT_S;
