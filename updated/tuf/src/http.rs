//! A repository on any web server: plain `GET`, and `Range` to go on in the middle.
//!
//! Whoever uses it opens the connections, so that names and TLS are theirs; metadata and targets are signed, so TLS hides
//! what is fetched and no more. One connection is kept between requests.
//!
//! What an attacker controls: everything that comes. Heads are bounded by `hyper`, files by who reads them, time here.

use std::io;
use std::ops::Range;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_RANGE, HOST, LOCATION, RANGE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

use crate::name;
use crate::pace::Pace;
use crate::source::{Body, Place, Source, SourceError};

/// How long a connection, an answer's head, or the next bytes may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Fewer bytes than these in a minute are too slow.
const LEAST_PER_MINUTE: u64 = 8 << 10;
/// How often a server may send us elsewhere for a file.
const HOPS_MAX: u32 = 3;
/// How often a server that fails is asked once more for a file, and how long it has for that, the second time twice as long. What
/// takes many files would not come to its end otherwise: who reads begins anew where one is missing.
const AGAIN_MAX: u32 = 2;
const AGAIN: Duration = Duration::from_secs(1);

/// A folder on a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Whether it is HTTPS.
    pub secure: bool,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Begins with `/`.
    path: String,
}

impl Base {
    /// `http[s]://HOST[:PORT][/PATH]`, printable and without user, query or fragment; none if it is no such thing.
    pub fn parse(url: &str) -> Option<Self> {
        let mut base = Self::of_file(url)?;
        if !base.path.ends_with('/') {
            base.path.push('/');
        }
        Some(base)
    }

    /// A folder below it, whose name ends with `/`.
    #[must_use]
    pub fn below(&self, folder: &str) -> Self {
        self.file(folder)
    }

    fn of_file(url: &str) -> Option<Self> {
        let secure = url.starts_with("https://");
        let rest = url.strip_prefix(if secure { "https://" } else { "http://" })?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, if secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#@<>\"\\".contains(&byte));
        (!host.is_empty() && plain(host) && plain(path)).then(|| Self {
            secure,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// Where a server sends us: another URL, or another path of its own.
    fn elsewhere(&self, location: &str) -> Option<Self> {
        let target = match location.strip_prefix('/').filter(|path| !path.starts_with('/')) {
            Some(_) => Self { path: location.to_owned(), ..self.clone() },
            None => Self::of_file(location)?,
        };
        // What was asked for in secret is not asked for in the open.
        (target.secure || !self.secure).then_some(target)
    }

    fn file(&self, name: &str) -> Self {
        Self { path: format!("{}{name}", self.path), ..self.clone() }
    }

    fn is_there(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Opens connections.
pub trait Connect {
    /// A connection, TLS included if [`Base::secure`] asks for it.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Opens one.
    ///
    /// # Errors
    /// Nobody is there, or somebody else.
    fn connect(&mut self, to: &Base) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// A repository on a web server. To be used within a `tokio::task::LocalSet`.
#[derive(Debug)]
pub struct Http<C> {
    connect: C,
    metadata: Base,
    targets: Base,
    open: Option<(Base, SendRequest<Empty<Bytes>>)>,
}

impl<C: Connect> Http<C> {
    /// With metadata and targets in these folders.
    pub fn new(connect: C, metadata: Base, targets: Base) -> Self {
        Self { connect, metadata, targets, open: None }
    }

    async fn ask(&mut self, file: &Base, part: Part) -> Result<Response<Incoming>, SourceError> {
        if let Some((there, mut sender)) = self.open.take().filter(|(there, _)| there.is_there(file)) {
            // A server may have ended it since: then a new one is opened.
            if let Ok(Ok(response)) = timeout(PATIENCE, send(&mut sender, file, part)).await {
                self.open = Some((there, sender));
                return Ok(response);
            }
        }
        let mut sender = timeout(PATIENCE, self.dial(file)).await.map_err(|_| SourceError::Slow)??;
        let sent = timeout(PATIENCE, send(&mut sender, file, part)).await.map_err(|_| SourceError::Slow)?;
        let response = sent.map_err(lost)?;
        self.open = Some((file.clone(), sender));
        Ok(response)
    }

    async fn dial(&mut self, file: &Base) -> Result<SendRequest<Empty<Bytes>>, SourceError> {
        let stream = self.connect.connect(file).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::task::spawn_local(async move {
            // What ends it early the request under way hears as well.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

async fn send(
    sender: &mut SendRequest<Empty<Bytes>>,
    file: &Base,
    part: Part,
) -> hyper::Result<Response<Incoming>> {
    sender.ready().await?;
    let mut request = Request::new(Empty::new());
    if let Ok(path) = file.path.parse() {
        *request.uri_mut() = path;
    }
    if let Ok(host) = file.authority().parse() {
        request.headers_mut().insert(HOST, host);
    }
    if let Some(Ok(range)) = part.header().map(|range| range.parse()) {
        request.headers_mut().insert(RANGE, range);
    }
    sender.send_request(request).await
}

fn begins_at(response: &Response<Incoming>, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

fn lost(error: hyper::Error) -> SourceError {
    SourceError::Io(io::Error::other(error))
}

/// What of a file is asked for: from a byte on, and up to one if it ends before the file does.
#[derive(Clone, Copy)]
struct Part {
    from: u64,
    until: Option<u64>,
}

impl Part {
    /// The value of `Range`; none for the whole.
    fn header(self) -> Option<String> {
        match (self.from, self.until.and_then(|until| until.checked_sub(1))) {
            (0, None) => None,
            (from, None) => Some(format!("bytes={from}-")),
            (from, Some(last)) => Some(format!("bytes={from}-{last}")),
        }
    }
}

impl<C: Connect> Http<C> {
    async fn get(&mut self, place: Place<'_>, part: Part) -> Result<Option<Answer>, SourceError> {
        let from = part.from;
        let mut file = match place {
            Place::Metadata(name) => self.metadata.file(name),
            Place::Target(path) => self.targets.file(&name::url_path(path)),
        };
        let (mut hops, mut failures) = (0, 0);
        while hops <= HOPS_MAX {
            let response = self.ask(&file, part).await?;
            let status = response.status();
            match status {
                StatusCode::OK if from == 0 => return Ok(Some(Answer::new(response))),
                StatusCode::PARTIAL_CONTENT if part.header().is_some() && begins_at(&response, from) => {
                    return Ok(Some(Answer::new(response)));
                }
                // Stores that hide what is not there say that it is forbidden.
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
                _ if status.is_redirection() => {
                    hops += 1;
                    let location =
                        response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                    let elsewhere = location.and_then(|location| file.elsewhere(location));
                    file = elsewhere.ok_or_else(|| SourceError::Form("it sends us nowhere".to_owned()))?;
                }
                _ if status.is_server_error() && failures < AGAIN_MAX => {
                    failures += 1;
                    sleep(AGAIN * failures).await;
                }
                _ => return Err(SourceError::Refused(status.as_u16())),
            }
        }
        Err(SourceError::Form("it sends us on and on".to_owned()))
    }
}

impl<C: Connect> Source for Http<C> {
    type Body = Answer;

    async fn open(&mut self, place: Place<'_>, from: u64) -> Result<Option<Answer>, SourceError> {
        self.get(place, Part { from, until: None }).await
    }

    async fn open_part(&mut self, place: Place<'_>, part: Range<u64>) -> Result<Option<Answer>, SourceError> {
        self.get(place, Part { from: part.start, until: Some(part.end) }).await
    }
}

/// A file on its way.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    chunk: Bytes,
    began: Instant,
    pace: Pace,
}

impl Answer {
    fn new(response: Response<Incoming>) -> Self {
        let pace = Pace::new(LEAST_PER_MINUTE, 60_000, 0);
        Self { body: response.into_body(), chunk: Bytes::new(), began: Instant::now(), pace }
    }
}

impl Body for Answer {
    async fn chunk(&mut self) -> Result<Option<&[u8]>, SourceError> {
        loop {
            let frame = timeout(PATIENCE, self.body.frame()).await.map_err(|_| SourceError::Slow)?;
            let Some(frame) = frame else { return Ok(None) };
            let Ok(data) = frame.map_err(lost)?.into_data() else { continue };
            let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            if !self.pace.took(u64::try_from(data.len()).unwrap_or(u64::MAX), now_ms) {
                return Err(SourceError::Slow);
            }
            self.chunk = data;
            return Ok(Some(&self.chunk));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        let base = Base::parse("http://[::1]:8080/a").map(|base| (base.authority(), base.path));
        assert_eq!(base, Some(("[::1]:8080".to_owned(), "/a/".to_owned())));
        let base = Base::parse("https://a.example").map(|base| (base.port, base.path));
        assert_eq!(base, Some((443, "/".to_owned())));
        for bad in ["ftp://a/", "http:///a", "http://a@b/", "http://a/ b", "http://a:x/", "http://a/#b"] {
            assert_eq!(Base::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn server_sends_us_to_nothing_less_secure() {
        let here = Base::parse("https://a.example/b/").map(|base| base.file("c"));
        let to =
            |location| here.as_ref().and_then(|here| here.elsewhere(location)).map(|to| (to.host, to.path));
        assert_eq!(to("/d"), Some(("a.example".to_owned(), "/d".to_owned())));
        assert_eq!(to("https://e.example/f?g=h"), Some(("e.example".to_owned(), "/f?g=h".to_owned())));
        assert_eq!(to("http://e.example/f"), None);
        assert_eq!(to("//e.example/f"), None);
    }
}
