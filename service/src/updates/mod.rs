//! The repository of updates that the service serves: its own signatures, what is published, who waits for news.
//!
//! Releases are signed by people whose keys are not here ([`bench`] checks them as a device would). The service's keys,
//! snapshot's and timestamp's, say only which of them belong together and that they are the newest: whoever has those alone can
//! hold releases back, and cannot make one.

pub mod bench;
mod expiry;
mod keys;
mod refresh;
pub mod waiting;

pub use expiry::{measure, warn};
pub use keys::{make_key, public_keys, signers};
pub use refresh::refresh;
