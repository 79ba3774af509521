//! The service and the repository, and what goes wrong with them.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_RANGE, LOCATION, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use service_api::updates::{Answer, Check};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Bytes that are sent at once.
const CHUNK: usize = 4096;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Only so many bytes of an answer come, then the connection is gone.
    Cut(usize),
    /// Every so many answers are a 500.
    Broken(u64),
    /// The byte there is another, of files that are so long.
    Wrong(usize),
    /// It goes on and on.
    Endless,
    /// It sends us somewhere else.
    Elsewhere(&'static str),
    /// It has no files.
    Empty,
    /// So many milliseconds pass before an answer.
    Late(u64),
    /// So many bytes come in a second.
    Slow(u64),
}

/// A server, on a port of the loopback.
pub(crate) struct Server {
    pub(crate) site: RefCell<PathBuf>,
    pub(crate) answer: RefCell<Answer>,
    /// What was asked.
    pub(crate) checks: RefCell<Vec<Check>>,
    pub(crate) away: Cell<bool>,
    /// What goes wrong with files whose path has this in it, and how often still.
    pub(crate) fault: RefCell<Option<(&'static str, Fault, u32)>>,
    /// Bytes of targets that were sent.
    pub(crate) sent: Cell<u64>,
    pub(crate) asked: RefCell<Vec<String>>,
    changed: Notify,
    /// Ends all connections.
    pub(crate) cut: Notify,
    port: Cell<u16>,
    ca: String,
    count: Cell<u64>,
}

/// An answer on its way.
struct Body {
    /// Who counts it.
    server: Option<Rc<Server>>,
    bytes: Bytes,
    /// How it ends, if not well.
    ending: Option<std::io::ErrorKind>,
    /// How many bytes in a second, and when the next come.
    slow: Option<(u64, Pin<Box<tokio::time::Sleep>>)>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some((rate, next)) = &mut self.slow {
            if next.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let took = Duration::from_micros(CHUNK as u64 * 1_000_000 / *rate);
            next.as_mut().reset(tokio::time::Instant::now() + took);
        }
        if self.bytes.is_empty() {
            return Poll::Ready(self.ending.take().map(|kind| Err(kind.into())));
        }
        let chunk = self.bytes.len().min(CHUNK);
        let chunk = self.bytes.split_to(chunk);
        if let Some(server) = &self.server {
            server.sent.set(server.sent.get() + chunk.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

impl Server {
    /// Begins to serve a repository, on a socket that may be of another network.
    pub(crate) fn begin_on(site: PathBuf, answer: Answer, listener: std::net::TcpListener) -> Rc<Self> {
        let address = listener.local_addr().unwrap().ip();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = authority.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(authority, key);
        let own = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![address.to_string()]).unwrap().signed_by(&own, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = Rc::new(Self {
            site: RefCell::new(site),
            answer: RefCell::new(answer),
            checks: RefCell::default(),
            away: Cell::new(false),
            fault: RefCell::default(),
            sent: Cell::new(0),
            asked: RefCell::default(),
            changed: Notify::new(),
            cut: Notify::new(),
            port: Cell::new(listener.local_addr().unwrap().port()),
            ca,
            count: Cell::new(0),
        });
        let this = server.clone();
        spawn_local(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                if this.away.get() {
                    continue;
                }
                stream.set_nodelay(true).unwrap();
                let (this, cut, acceptor) = (this.clone(), this.clone(), acceptor.clone());
                spawn_local(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let serve = service_fn(move |request| this.clone().respond(request));
                    let served = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), serve);
                    tokio::select! {
                        _ = served => {}
                        () = cut.cut.notified() => {}
                    }
                });
            }
        });
        server
    }

    /// `service.toml`.
    pub(crate) fn toml(&self, address: Ipv4Addr) -> String {
        format!("url = \"https://{address}:{}\"\nca = \"\"\"\n{}\"\"\"\n", self.port.get(), self.ca)
    }

    /// Means devices to run something else, and tells those that wait.
    pub(crate) fn means(&self, change: impl FnOnce(&mut Answer)) {
        let mut answer = self.answer.borrow_mut();
        answer.generation += 1;
        change(&mut answer);
        self.changed.notify_waiters();
    }

    /// From now on so many answers that have `what` in their path are faulty.
    pub(crate) fn breaks(&self, what: &'static str, fault: Fault, times: u32) {
        *self.fault.borrow_mut() = Some((what, fault, times));
    }

    /// How many of those answers are still to come.
    pub(crate) fn left(&self) -> u32 {
        self.fault.borrow().as_ref().map_or(0, |(.., times)| *times)
    }

    async fn respond(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        self.asked.borrow_mut().push(path.clone());
        self.count.set(self.count.get() + 1);
        let mut late = None;
        let response = match (request.method(), path.as_str()) {
            (&Method::POST, "/device/v1/updates") => {
                let bytes = request.into_body().collect().await.unwrap().to_bytes();
                self.checks.borrow_mut().push(serde_json::from_slice(&bytes).unwrap());
                full(StatusCode::OK, serde_json::to_vec(&*self.answer.borrow()).unwrap())
            }
            (&Method::GET, "/device/v1/updates/wait") => {
                let known: u64 =
                    request.uri().query().unwrap().strip_prefix("generation=").unwrap().parse().unwrap();
                let changed = async {
                    while self.answer.borrow().generation == known {
                        self.changed.notified().await;
                    }
                };
                match tokio::time::timeout(Duration::from_secs(100), changed).await {
                    Ok(()) => full(StatusCode::OK, b"{}".to_vec()),
                    Err(_) => full(StatusCode::NO_CONTENT, Vec::new()),
                }
            }
            (&Method::GET, path) => {
                if let Some((_, Fault::Late(ms), _)) = *self.fault.borrow() {
                    late = Some(ms);
                }
                self.file(path, &request)
            }
            _ => full(StatusCode::METHOD_NOT_ALLOWED, Vec::new()),
        };
        if let Some(ms) = late {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        Ok(response)
    }

    fn concerns(&self, fault: Fault, path: &str) -> bool {
        let Fault::Wrong(at) = fault else { return true };
        let file = self.site.borrow().join(path.trim_start_matches("/updates/"));
        std::fs::metadata(file).is_ok_and(|about| about.len() > at as u64)
    }

    fn file(self: &Rc<Self>, path: &str, request: &Request<Incoming>) -> Response<Body> {
        let range = request.headers().get(RANGE).map(|range| range.to_str().unwrap().to_owned());
        let fault = {
            let mut fault = self.fault.borrow_mut();
            let (now, left) = match fault.as_mut() {
                Some((what, fault, times))
                    if path.contains(*what) && *times > 0 && self.concerns(*fault, path) =>
                {
                    *times -= 1;
                    (Some(*fault), *times)
                }
                _ => (None, 1),
            };
            if left == 0 {
                *fault = None;
            }
            now
        };
        match fault {
            Some(Fault::Broken(every)) if self.count.get().is_multiple_of(every) => {
                return full(StatusCode::INTERNAL_SERVER_ERROR, Vec::new());
            }
            Some(Fault::Empty) => return full(StatusCode::NOT_FOUND, Vec::new()),
            Some(Fault::Elsewhere(to)) => {
                let mut response = full(StatusCode::FOUND, Vec::new());
                response.headers_mut().insert(LOCATION, to.parse().unwrap());
                return response;
            }
            _ => {}
        }
        let Some(file) = path.strip_prefix("/updates/") else {
            return full(StatusCode::NOT_FOUND, Vec::new());
        };
        let Ok(mut bytes) = std::fs::read(self.site.borrow().join(file)) else {
            return full(StatusCode::NOT_FOUND, Vec::new());
        };
        if let Some(Fault::Wrong(at)) = fault {
            bytes[at] ^= 0x40;
        }
        let (status, from, until) =
            match range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
                None => (StatusCode::OK, 0, bytes.len()),
                Some((from, last)) => {
                    let until = last.parse::<usize>().map_or(bytes.len(), |last| bytes.len().min(last + 1));
                    (StatusCode::PARTIAL_CONTENT, from.parse::<usize>().unwrap(), until)
                }
            };
        let head = format!("bytes {from}-{}/{}", until.saturating_sub(1), bytes.len());
        let mut part = bytes.get(from..until).unwrap_or_default().to_vec();
        let mut ending = None;
        match fault {
            Some(Fault::Cut(after)) => {
                part.truncate(after);
                ending = Some(std::io::ErrorKind::ConnectionReset);
            }
            Some(Fault::Endless) => part.resize(64 << 20, b' '),
            _ => {}
        }
        let chunks = Body {
            server: path.contains("/targets/").then(|| self.clone()),
            bytes: Bytes::from(part),
            ending,
            slow: match fault {
                Some(Fault::Slow(rate)) => Some((rate, Box::pin(tokio::time::sleep(Duration::ZERO)))),
                _ => None,
            },
        };
        let mut response = Response::new(chunks);
        *response.status_mut() = status;
        if status == StatusCode::PARTIAL_CONTENT {
            response.headers_mut().insert(CONTENT_RANGE, head.parse().unwrap());
        }
        response
    }
}

fn full(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response =
        Response::new(Body { server: None, bytes: Bytes::from(bytes), ending: None, slow: None });
    *response.status_mut() = status;
    response
}
