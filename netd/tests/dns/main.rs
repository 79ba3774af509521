//! The resolver whole, from an app's datagram to a server's and back: against dnsmasq and unbound in a network namespace of
//! the test, and against a server that does what it likes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod app;
mod hostile;
mod moving;
mod real;
mod site;
mod tls;
