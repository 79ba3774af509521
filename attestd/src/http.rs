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
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use crate::config::Service;
use crate::lookup::lookup;

/// Longest answer, bytes.
const ANSWER_MAX: usize = 512 << 10;
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
    /// The service says no: its status, and why.
    Refused(u16, String),
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
            Self::Refused(status, why) => write!(f, "the service refuses ({status}): {why}"),
            Self::Form(e) => write!(f, "the service's answer is not understood: {e}"),
        }
    }
}

impl std::error::Error for CallError {}

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
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect((address, service.port)).await {
                Ok(stream) => return Self::over(service, stream, tls).await,
                Err(e) => last = e,
            }
        }
        Err(CallError::Connect(last))
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
        let bytes = self.request(Method::POST, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|e| CallError::Form(e.to_string()))
    }

    /// `GET`s bytes.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn get(&mut self, path: &str) -> Result<Bytes, CallError> {
        self.request(Method::GET, path, Vec::new()).await
    }

    async fn request(&mut self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, CallError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|e| CallError::Form(e.to_string()))?;
        timeout(PATIENCE, self.exchange(request)).await.map_err(|_| CallError::Slow)?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Bytes, CallError> {
        self.sender.ready().await.map_err(lost)?;
        let response: Response<Incoming> = self.sender.send_request(request).await.map_err(lost)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let bytes = body.map_err(|e| CallError::Lost(e.to_string()))?.to_bytes();
        if status.is_success() { Ok(bytes) } else { Err(CallError::Refused(status.as_u16(), why(&bytes))) }
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

/// What the service says about a refusal (RFC 9457), on one line of printable characters.
fn why(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        #[serde(default)]
        title: String,
        #[serde(default)]
        detail: String,
        #[serde(default)]
        reasons: Vec<String>,
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return "it does not say why".to_owned();
    };
    let parts =
        [problem.title, problem.detail].into_iter().chain(problem.reasons).filter(|part| !part.is_empty());
    printable(&parts.collect::<Vec<_>>().join("; "))
}

/// What of `text` may be shown, and no more of it than a line.
pub(crate) fn printable(text: &str) -> String {
    const MOST: usize = 300;
    text.chars().map(|c| if matches!(c, ' '..='~') && c != '\\' { c } else { '?' }).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_told_in_the_services_words_on_one_line() {
        let body =
            br#"{"type":"about:blank","title":"not attested","status":403,"reasons":["PCR 11 is\nunknown"]}"#;
        assert_eq!(why(body), "not attested; PCR 11 is?unknown");
        assert_eq!(why(b"<html>"), "it does not say why");
    }
}
