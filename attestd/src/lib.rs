//! The identity daemon: the only process with the TPM.
//!
//! | file | |
//! |---|---|
//! | `config` | `service.toml` |
//! | `lookup`, `http` | the way to the service |
//! | `pace` | when the next round is, how much an app may ask for; pure |

pub mod config;
pub mod http;
pub mod lookup;
pub mod pace;
