//! Requests to the service: JSON over HTTPS, one connection for the requests of a round.
//!
//! What an attacker controls: everything on the way, which TLS refuses, and the answers if it is the service, which are
//! bounded and of fixed form.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_api::problem::Problem;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use crate::config::Service;
use crate::dial::dial;
use crate::lookup::lookup;

/// Longest answer, bytes.
const ANSWER_MAX: usize = 512 << 10;
/// Reasons of a refusal that are told.
const REASONS_MAX: usize = 8;
/// What the kinds of refusals begin with.
const KINDS: &str = "urn:gabion:problem:";
/// How long anything may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug)]
pub enum CallError {
    /// Its name can't be resolved.
    Name(io::Error),
    /// Nobody is reached there.
    Connect(io::Error),
    /// Whoever is there is not the service, or does not believe us.
    Tls(io::Error),
    /// The connection ended in the middle.
    Lost(String),
    /// It took too long.
    Slow,
    /// The service says no.
    Refused(Refusal),
    /// The answer is not of the form agreed.
    Form(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(e) => write!(f, "the service's name: {e}"),
            Self::Connect(e) => write!(f, "the service can not be reached: {e}"),
            Self::Tls(e) => write!(f, "no trust between the service and us: {e}"),
            Self::Lost(e) => write!(f, "the connection to the service was lost: {e}"),
            Self::Slow => f.write_str("the service did not answer in time"),
            Self::Refused(refusal) => write!(f, "the service refuses: {}", refusal.reasons.join("; ")),
            Self::Form(e) => write!(f, "the service's answer is not understood: {e}"),
        }
    }
}

impl std::error::Error for CallError {}

/// The service's no (RFC 9457), on lines of printable characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind, the last part of its URN; empty when it has none of the service's.
    pub kind: String,
    /// Why: at least one.
    pub reasons: Vec<String>,
}

impl Refusal {
    /// Reads one; whatever came is some refusal.
    fn read(status: u16, body: &[u8]) -> Self {
        let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
            let reasons = vec![format!("it does not say why, with status {status}")];
            return Self { kind: String::new(), reasons };
        };
        let kind = problem.kind.strip_prefix(KINDS).unwrap_or_default();
        let mut reasons = problem.reasons;
        if reasons.is_empty() {
            reasons.push(problem.title);
        }
        let more = reasons.len().saturating_sub(REASONS_MAX);
        reasons.truncate(REASONS_MAX);
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        Self { kind: printable(kind), reasons: reasons.iter().map(|reason| printable(reason)).collect() }
    }
}

/// A connection.
pub struct Connection {
    host: String,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects; `tls` says whom to trust, and who we are if anybody.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn open(
        service: &Service,
        name_server: Ipv4Addr,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, CallError> {
        timeout(PATIENCE, Self::connect(service, name_server, tls)).await.map_err(|_| CallError::Slow)?
    }

    async fn connect(
        service: &Service,
        name_server: Ipv4Addr,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, CallError> {
        let addresses = lookup(&service.host, name_server).await.map_err(CallError::Name)?;
        let stream = dial(&addresses, service.port).await.map_err(CallError::Connect)?;
        Self::over(service, stream, tls).await
    }

    async fn over(service: &Service, stream: TcpStream, tls: Arc<ClientConfig>) -> Result<Self, CallError> {
        let stream =
            TlsConnector::from(tls).connect(service.name.clone(), stream).await.map_err(CallError::Tls)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let driver = tokio::task::spawn_local(async move {
            // What ends it early the request under way hears as well.
            let _ = connection.await;
        });
        let host = match service.host.contains(':') {
            true => format!("[{}]:{}", service.host, service.port),
            false => format!("{}:{}", service.host, service.port),
        };
        Ok(Self { host, sender, driver })
    }

    /// `POST`s `body` as JSON; gives the answer, read from JSON.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn post<A: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, CallError> {
        let body = serde_json::to_vec(body).map_err(|e| CallError::Form(e.to_string()))?;
        let (_, bytes) = self.request(Method::POST, path, body, PATIENCE).await?;
        serde_json::from_slice(&bytes).map_err(|e| CallError::Form(e.to_string()))
    }

    /// `PUT`s `body` as JSON, to which there is no answer but that it was taken.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn put(&mut self, path: &str, body: &impl Serialize) -> Result<(), CallError> {
        let body = serde_json::to_vec(body).map_err(|e| CallError::Form(e.to_string()))?;
        self.request(Method::PUT, path, body, PATIENCE).await.map(drop)
    }

    /// `GET`s bytes.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn get(&mut self, path: &str) -> Result<Bytes, CallError> {
        Ok(self.request(Method::GET, path, Vec::new(), PATIENCE).await?.1)
    }

    /// `GET`s bytes for which the service may keep us waiting so long; none if it says that there are none.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn get_within(&mut self, path: &str, patience: Duration) -> Result<Option<Bytes>, CallError> {
        let (status, bytes) = self.request(Method::GET, path, Vec::new(), patience).await?;
        Ok(Some(bytes).filter(|_| status != StatusCode::NO_CONTENT))
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|e| CallError::Form(e.to_string()))?;
        timeout(patience, self.exchange(request)).await.map_err(|_| CallError::Slow)?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), CallError> {
        self.sender.ready().await.map_err(lost)?;
        let response: Response<Incoming> = self.sender.send_request(request).await.map_err(lost)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let bytes = body.map_err(|e| CallError::Lost(e.to_string()))?.to_bytes();
        if status.is_success() {
            Ok((status, bytes))
        } else {
            Err(CallError::Refused(Refusal::read(status.as_u16(), &bytes)))
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn lost(error: hyper::Error) -> CallError {
    CallError::Lost(error.to_string())
}

/// What of `text` may be shown, and no more of it than a line.
pub fn printable(text: &str) -> String {
    const MOST: usize = 300;
    text.chars().map(|c| if matches!(c, ' '..='~') && c != '\\' { c } else { '?' }).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_told_in_the_services_words_line_by_line() {
        let body = br#"{"type":"urn:gabion:problem:untrusted","title":"the proof does not hold","status":403,
            "reasons":["PCR 11 is\nunknown","debug"]}"#;
        let refusal = Refusal::read(403, body);
        assert_eq!(refusal.kind, "untrusted");
        assert_eq!(refusal.reasons, ["PCR 11 is?unknown", "debug"]);
        let many = format!(r#"{{"type":"x","title":"t","status":403,"reasons":{:?}}}"#, vec!["a"; 100]);
        assert_eq!(Refusal::read(403, many.as_bytes()).reasons.last().unwrap(), "and 92 more");
        assert_eq!(Refusal::read(502, b"<html>").reasons, ["it does not say why, with status 502"]);
        let title = Refusal::read(403, br#"{"type":"about:blank","title":"no","status":403}"#);
        assert_eq!((title.kind.as_str(), title.reasons), ("", vec!["no".to_owned()]));
    }
}
