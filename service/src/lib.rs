//! The Security Service: enrols devices, checks what they show of themselves, grants day-long certificates, and keeps who
//! may do what with which device.
//!
//! `http` is the way in; `store` the state; `ca` the certificates; `artefacts` the bytes that are too
//! many for it; `verifier` what is asked of whoever understands TPMs, `attest` who does.
//! Everything that arrives may come from anybody: it is bounded and read strictly before it is looked at, and what it may
//! do follows from credentials that the store knows.

pub mod artefacts;
pub mod attest;
pub mod ca;
pub mod clock;
pub mod http;
pub mod limits;
mod metrics;
pub mod nonces;
pub mod oidc;
mod orderly;
pub mod outgoing;
mod patience;
pub mod published;
pub mod refusal;
mod remains;
pub mod rollout;
pub mod run;
pub mod secrets;
pub mod serve;
pub mod store;
pub mod tls;
pub mod updates;
pub mod verifier;
