//! `service.toml`: which service the device belongs to. Written by whoever makes the image, or by the device's owner.
//!
//! ```toml
//! url = "https://gabion.example.com:8443"
//! # The authority that the service's certificate comes from; nobody else's is believed.
//! ca = """
//! -----BEGIN CERTIFICATE-----
//! …
//! """
//! ```

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// The port of HTTPS.
const HTTPS: u16 = 443;
/// Authorities that may be named.
const AUTHORITIES_MAX: usize = 8;

/// See the module.
#[derive(Clone, Debug)]
pub struct Service {
    /// Whose name is in its certificate: a name or an address.
    pub name: ServerName<'static>,
    /// The same as text, without brackets.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// Authorities.
    pub roots: RootCertStore,
}

/// What is wrong with `service.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError(String);

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServiceError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    url: String,
    ca: String,
}

impl Service {
    /// Its address as a manifest has it, `HOST:PORT/tcp`.
    pub fn address(&self) -> String {
        let bracketed = self.host.contains(':');
        let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}/tcp", self.host, self.port)
    }
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let claimed: Claimed = toml::from_str(text).map_err(|e| ServiceError(one_line(e.message())))?;
        let (host, port) = address(&claimed.url)?;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| ServiceError(format!("\"{host}\" in url is neither a host name nor an address")))?;
        Ok(Self { name, host, port, roots: roots(&claimed.ca)? })
    }
}

fn address(url: &str) -> Result<(String, u16), ServiceError> {
    let uri: hyper::Uri = url.parse().map_err(|_| ServiceError("url is no URL".to_owned()))?;
    let plain = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    let (Some(host), true) = (uri.host(), plain) else {
        return Err(ServiceError("url must be of the form https://HOST[:PORT]".to_owned()));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(HTTPS)))
}

fn roots(pem: &str) -> Result<RootCertStore, ServiceError> {
    let wrong = || ServiceError("ca has no certificate in PEM; `gabion-service ca` prints it".to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()).take(AUTHORITIES_MAX) {
        roots.add(certificate.map_err(|_| wrong())?).map_err(|_| wrong())?;
    }
    if roots.is_empty() { Err(wrong()) } else { Ok(roots) }
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate authority that nobody has the key of.
    const CA: &str = include_str!("../../../attestd/testdata/ca.pem");

    fn read(url: &str, ca: &str) -> Result<Service, ServiceError> {
        format!("url = \"{url}\"\nca = \"\"\"\n{ca}\"\"\"\n").parse()
    }

    #[test]
    fn service_is_read_with_and_without_a_port() {
        let service = read("https://gabion.example.com", CA).unwrap();
        assert_eq!((service.address().as_str(), service.roots.len()), ("gabion.example.com:443/tcp", 1));
        assert_eq!(read("https://[fd00::1]:8443/", CA).unwrap().address(), "[fd00::1]:8443/tcp");
        assert_eq!(read("https://192.0.2.1:1", CA).unwrap().address(), "192.0.2.1:1/tcp");
    }

    #[test]
    fn service_with_a_fault_is_refused_with_what_to_write() {
        for url in
            ["http://a.example", "https://", "a.example", "https://a.example/path", "https://a.example?x"]
        {
            assert!(read(url, CA).is_err(), "{url}");
        }
        assert!(read("https://a.example", "").unwrap_err().0.contains("gabion-service ca"));
        assert!("url = \"https://a.example\"\n".parse::<Service>().unwrap_err().0.contains("ca"));
        assert!("url = \"https://a\"\nca = \"\"\nx = 1\n".parse::<Service>().is_err());
    }
}
