//! The identity daemon: the only process with the TPM.
//!
//! | file | |
//! |---|---|
//! | `config` | `service.toml` |
//! | `lookup`, `http` | the way to the service |
//! | `tls`, `round`, `request` | what is said on it |
//! | `pace` | when the next round is, how much an app may ask for; pure |
//! | `identity` | the TPM |
//! | `packages` | what is measured; pure but for the register |
//! | `kept` | what survives a restart |
//! | `reports` | what the service should hear of; pure |
//! | `unlock`, `uki` | the key of the data device, and in which states it comes |
//! | `serve` | `os.gabion.Certificate` |
//! | `state`, `daemon` | all of it, joined |

pub mod catalog;
pub mod config;
pub mod daemon;
pub mod http;
pub mod identity;
pub mod kept;
pub mod lookup;
pub mod pace;
pub mod packages;
pub mod reports;
pub mod request;
pub mod round;
pub mod serve;
pub mod state;
pub mod tls;
pub mod uki;
pub mod unlock;
