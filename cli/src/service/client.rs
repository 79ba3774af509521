//! HTTP/1.1 over TLS to the Security Service, one connection a request: a command makes one or two.
//!
//! The service is whom the root that was given at sign-in says it is; what the system trusts is not asked. What it answers is
//! bounded, and read by the types that it writes with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_api::Code;
use service_api::problem::Problem;

use crate::progress;

/// For connecting, and for each read.
const WAIT: Duration = Duration::from_secs(30);
/// The longest answer: a page of ten thousand reports is a tenth of it.
const ANSWER_MAX: u64 = 64 << 20;

/// The service as somebody reaches it.
pub(crate) struct Client {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    token: Option<Code>,
}

impl Client {
    /// The service at `https://HOST[:PORT]`, known by a root (PEM).
    pub(crate) fn new(url: &str, root: &str, token: Option<Code>) -> Result<Self> {
        let rest = url.strip_prefix("https://").context("the service's address begins with https://")?;
        let rest = rest.trim_end_matches('/');
        ensure!(
            !rest.contains(['/', '?', '#', '@', '[']),
            "the service's address is https://HOST or https://HOST:PORT"
        );
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, port.parse().context("the port")?),
            None => (rest, 443),
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
            roots.add(certificate.context("the root is no PEM")?)?;
        }
        ensure!(!roots.is_empty(), "there is no certificate in the root's file");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
        let tls = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { host: host.to_owned(), port, tls, token })
    }

    /// What is there.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(&self.send("GET", path, None)?)
    }

    /// Asks for something to be made.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: Option<&impl Serialize>) -> Result<T> {
        self.ask("POST", path, body)
    }

    /// Asks for something to be done that is answered.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let body = body.map(serde_json::to_string).transpose()?;
        read(&self.send(method, path, body.as_deref())?)
    }

    /// Asks for something to be done, of which there is nothing to say.
    pub(crate) fn act(&self, method: &str, path: &str, body: Option<&impl Serialize>) -> Result<()> {
        let body = body.map(serde_json::to_string).transpose()?;
        self.send(method, path, body.as_deref()).map(drop)
    }

    /// A file as it is; none if there is none.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.send("GET", path, None) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => match error.downcast_ref::<Problem>() {
                Some(problem) if problem.status == 404 => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Puts a file's bytes there.
    pub(crate) fn put(&self, path: &str, file: &std::path::Path) -> Result<()> {
        let bytes = std::fs::File::open(file).with_context(|| file.display().to_string())?;
        let length = bytes.metadata()?.len();
        let mut bytes = progress::reading("sending", length, bytes);
        let head = format!("Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n");
        let answer = self.exchange(&(self.head("PUT", path) + &head), &mut bytes);
        self.answer(answer).map(drop)
    }

    fn head(&self, method: &str, path: &str) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host);
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {}\r\n", token.as_str());
        }
        head
    }

    fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<Vec<u8>> {
        let mut head = self.head(method, path);
        if let Some(body) = body {
            head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        self.answer(self.exchange(&(head + "\r\n"), &mut body.unwrap_or_default().as_bytes()))
    }

    fn answer(&self, answer: Result<Vec<u8>>) -> Result<Vec<u8>> {
        let answer = answer.with_context(|| format!("asking {}:{}", self.host, self.port))?;
        let (status, body) = parts(&answer)?;
        if (200..300).contains(&status) {
            return Ok(body.to_vec());
        }
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Err(problem.into()),
            Err(_) => bail!("the service answered with status {status}"),
        }
    }

    fn exchange(&self, head: &str, body: &mut impl Read) -> Result<Vec<u8>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        let name = ServerName::try_from(self.host.clone())?;
        let mut stream = StreamOwned::new(ClientConnection::new(self.tls.clone(), name)?, stream);
        stream.write_all(head.as_bytes())?;
        // A refusal may come before the body went through.
        let sent = std::io::copy(body, &mut stream);
        let mut answer = Vec::new();
        // A connection that ends without TLS's own word was cut: an error, and no short answer.
        match stream.take(ANSWER_MAX).read_to_end(&mut answer) {
            Err(_) if answer.is_empty() && sent.is_err() => drop(sent?),
            read => drop(read?),
        }
        Ok(answer)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).context("the service answered something else; is it of another version?")
}

/// Status and body of an answer that was read to its end.
fn parts(answer: &[u8]) -> Result<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("the answer is not HTTP")?;
    let head = std::str::from_utf8(&answer[..end]).context("the answer is not HTTP")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|line| line.get(..3)?.parse().ok()).context("the answer is not HTTP/1.1")?;
    let body = &answer[end + 4..];
    let field = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    for (name, value) in lines.filter_map(field) {
        ensure!(name != "transfer-encoding", "the answer comes in an encoding that is not read here");
        ensure!(name != "content-length" || value.parse() == Ok(body.len()), "the answer was cut off");
    }
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_read_whole_or_refused() {
        assert_eq!(parts(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok(), Some((200, &b"ok"[..])));
        assert_eq!(parts(b"HTTP/1.1 204 No Content\r\n\r\n").ok(), Some((204, &b""[..])));
        for bad in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"SSH-2.0",
            b"",
        ] {
            assert!(parts(bad).is_err());
        }
    }

    #[test]
    fn address_is_https_and_a_host() {
        for bad in ["http://a", "a", "https://", "https://a:b", "https://a/b", "https://u@a"] {
            assert!(Client::new(bad, "", None).is_err(), "{bad}");
        }
    }
}
