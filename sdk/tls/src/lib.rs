//! `gabion-tls`: TLS with the app's certificate for a program that knows nothing of it.
//!
//! ```text
//! program ──plainly──▶ localhost:1883  gabion-tls ──TLS, our certificate──▶ mqtt.example.com:8883
//! another device ──TLS, its certificate──▶ :8443  gabion-tls ──plainly──▶ localhost:8080  program
//! ```
//!
//! Both run in one box, with the app's uid: what passes between them nobody else on the device can read or reach, because
//! a port of the loopback is its app's alone. `options` says what is forwarded, `forward` does it, `child` is the program.

pub mod child;
pub mod forward;
pub mod options;
