//! HTTP/1.1 over TLS, as plainly as can be: one connection a request, so that nothing is shared that a test did not ask for.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Somebody with or without credentials.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    tls: TlsConnector,
    token: Option<String>,
    headers: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A clock that stands still: a service makes its own certificate when it starts, whatever tests wait for then.
#[derive(Debug)]
struct At(UnixTime);

impl At {
    fn seconds(seconds: i64) -> Result<Self> {
        Ok(Self(UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into()?))))
    }
}

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

impl Client {
    /// Who trusts `root`, perhaps with a certificate chain and its key (DER).
    pub(crate) fn new(
        address: SocketAddr,
        root: &[u8],
        own: Option<(Vec<Vec<u8>>, Vec<u8>)>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(root.to_vec().into())?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = chain.into_iter().map(Into::into).collect();
                builder.with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(key).into())?
            }
        };
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)), token: None, headers: String::new() })
    }

    /// The same who looks at certificates at this time instead of the machine's.
    pub(crate) fn at(&self, now: i64) -> Result<Self> {
        let mut config = ClientConfig::clone(self.tls.config());
        config.time_provider = Arc::new(At::seconds(now)?);
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), ..self.clone() })
    }

    /// The same with a token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same with a header; an empty one is none.
    pub(crate) fn with_header(&self, name: &str, value: &str) -> Self {
        let mut with = self.clone();
        if !value.is_empty() {
            with.headers += &format!("{name}: {value}\r\n");
        }
        with
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.send("POST", path, Some(&body)).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(Value::to_string);
        self.raw(method, path, "application/json", body.as_deref().map(str::as_bytes)).await
    }

    /// Any body at all.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        head += &self.headers;
        if let Some(body) = body {
            head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        }
        let request = [head.as_bytes(), b"\r\n", body.unwrap_or_default()].concat();
        let (answer, ended) = self.exchange(&request).await?;
        Answer::of(&answer).with_context(|| format!("{method} {path}: {ended:?}"))
    }

    /// A request whose body is written once the answer would be there, and another one behind it: all that comes back.
    pub(crate) async fn late(&self, head: &str, body: &[u8], next: &str) -> Result<String> {
        let stream = TcpStream::connect(self.address).await?;
        let mut stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        stream.write_all(head.as_bytes()).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        // The first write to what has been closed goes through.
        for part in body.chunks(body.len() / 2 + 1) {
            stream.write_all(part).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stream.write_all(next.as_bytes()).await?;
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await?;
        Ok(String::from_utf8(answers)?)
    }

    /// Any bytes at all on a connection of their own: all that comes back, and how it ended.
    pub(crate) async fn exchange(&self, request: &[u8]) -> Result<(Vec<u8>, std::io::Result<()>)> {
        let stream = TcpStream::connect(self.address).await?;
        let mut stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        // A refusal may come before the body went through.
        let sent = stream.write_all(request).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        Ok((answer, sent.and(read.map(drop))))
    }
}

impl Answer {
    fn of(bytes: &[u8]) -> Result<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
        let head = String::from_utf8(bytes[..end].to_vec())?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            bail!("chunked");
        }
        Ok(Self { status, head, body: bytes[end + 4..].to_vec() })
    }

    /// The body, if the status is this one.
    pub(crate) fn json(&self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("{} instead of {status}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).context("no JSON")
    }

    /// The reasons, if it is refused by this status.
    pub(crate) fn refused(&self, status: u16) -> Result<String> {
        let problem = self.json(status)?;
        anyhow::ensure!(self.head.contains("application/problem+json"), "{}", self.head);
        anyhow::ensure!(problem["status"] == status && problem["title"].is_string(), "{problem}");
        Ok(problem["reasons"].to_string())
    }
}
