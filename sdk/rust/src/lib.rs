//! What a Rust app on a Gabion device uses of the system.
//!
//! | module | |
//! |---|---|
//! | [`certificate`] | the app's certificate and its key, which stays in the TPM, for `rustls` |
//! | [`peer`] | who may be at the other end: another device, an app, a group |

pub mod certificate;
pub mod peer;
