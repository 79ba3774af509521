//! What is counted, for Prometheus.
//!
//! Labels are paths with their braces, words of ours and roles that an operator delegated to, never what a caller wrote: their
//! number is bounded.

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::time::Duration;

type Labels = Vec<(&'static str, String)>;

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Histogram,
    rounds: Family<Labels, Counter>,
    certificates: Counter,
    reports: Counter,
    roles: Family<Labels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at nothing.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("gabion_service");
        let requests = Family::default();
        let (rounds, roles) = (Family::default(), Family::default());
        let seconds = Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]);
        let (certificates, reports) = (Counter::default(), Counter::default());
        registry.register("requests", "Requests by path, method and status", requests.clone());
        registry.register("request_seconds", "From the request's head to the answer's", seconds.clone());
        registry.register("attestations", "Evidence by what was made of it", rounds.clone());
        registry.register("certificates", "Certificates issued", certificates.clone());
        registry.register("reports", "Error reports taken", reports.clone());
        let help = "When the newest version of a role of the updates expires, seconds since 1970";
        registry.register("updates_role_expires_timestamp_seconds", help, roles.clone());
        Self { registry, requests, seconds, rounds, certificates, reports, roles }
    }

    /// A request was answered.
    pub fn request(&self, path: &str, method: &Method, status: StatusCode, took: Duration) {
        // A method may be any word; those that no path has are one.
        let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE].contains(method);
        let method = if known { method.as_str() } else { "other" }.to_owned();
        let labels =
            vec![("path", path.to_owned()), ("method", method), ("status", status.as_u16().to_string())];
        self.requests.get_or_create(&labels).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Evidence was looked at: `passed`, `refused`, or not the device's at all.
    pub fn round(&self, outcome: &'static str, certificates: usize) {
        self.rounds.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
        self.certificates.inc_by(u64::try_from(certificates).unwrap_or(0));
    }

    /// Reports were taken.
    pub fn reports(&self, count: usize) {
        self.reports.inc_by(u64::try_from(count).unwrap_or(0));
    }

    /// When each role expires; of others nothing is said any more.
    pub fn roles<'a>(&self, expires: impl Iterator<Item = (&'a str, i64)>) {
        self.roles.clear();
        for (role, at) in expires {
            self.roles.get_or_create(&vec![("role", role.to_owned())]).set(at);
        }
    }

    /// As Prometheus reads it.
    ///
    /// # Errors
    /// Never: it is written to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
