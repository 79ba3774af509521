//! A repository on a web server: what is asked for, and what is made of the answers.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tuf::http::{Base, Connect, Http};
use tuf::source::{Body as _, Place, Source as _, SourceError};

/// A server that knows requests by heart. A connection ends after an answer that says so.
struct Server {
    /// What it is asked, and what it says.
    answers: Vec<(&'static str, &'static str)>,
    /// What was asked: to whom the connection was, and the request's first line and range.
    asked: Rc<RefCell<Vec<String>>>,
}

impl Connect for Server {
    type Stream = DuplexStream;

    async fn connect(&mut self, to: &Base) -> io::Result<DuplexStream> {
        let (ours, mut theirs) = duplex(64 << 10);
        let (answers, asked) = (self.answers.clone(), Rc::clone(&self.asked));
        asked.borrow_mut().push(format!("connect {}:{}", to.host, to.port));
        tokio::task::spawn_local(async move {
            let mut request = [0; 4096];
            while let Ok(length @ 1..) = theirs.read(&mut request).await {
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let lines =
                    text.lines().filter(|line| line.contains("HTTP/1.1") || line.starts_with("range"));
                let line = lines.collect::<Vec<_>>().join(" ");
                let answer = answers.iter().find(|(ask, _)| line.starts_with(ask)).map(|(_, answer)| *answer);
                asked.borrow_mut().push(line);
                let answer = answer.unwrap_or("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                let _ = theirs.write_all(answer.as_bytes()).await;
                if answer.contains("Connection: close") {
                    return;
                }
            }
        });
        Ok(ours)
    }
}

type Asked<'a> = (Place<'a>, u64);
type Answered = Vec<Result<Option<String>, SourceError>>;

/// What comes of each request, and what the server was asked.
fn answered(
    answers: Vec<(&'static str, &'static str)>,
    requests: &[Asked<'_>],
) -> Result<(Answered, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let asked = Rc::new(RefCell::new(Vec::new()));
    let server = Server { answers, asked: Rc::clone(&asked) };
    let metadata = Base::parse("http://a.example/m").context("a base")?;
    let targets = Base::parse("http://a.example/t/").context("a base")?;
    let mut source = Http::new(server, metadata, targets);
    let results = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut results = Vec::new();
        for (place, from) in requests {
            results.push(one(&mut source, *place, *from).await);
        }
        results
    });
    let asked = asked.borrow().clone();
    Ok((results, asked))
}

async fn one(source: &mut Http<Server>, place: Place<'_>, from: u64) -> Result<Option<String>, SourceError> {
    let Some(mut body) = source.open(place, from).await? else { return Ok(None) };
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        bytes.extend_from_slice(chunk);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[test]
fn names_are_quoted_and_a_connection_is_used_again() -> Result<()> {
    let role = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
    let (results, asked) = answered(
        vec![("GET /m/1.%2Fx.json", role), ("GET /t/a%20b/c", role)],
        &[
            (Place::Metadata("1.%2Fx.json"), 0),
            (Place::Target("a b/c"), 0),
            (Place::Metadata("2.root.json"), 0),
        ],
    )?;
    assert!(
        matches!(&results[..], [Ok(Some(a)), Ok(Some(b)), Ok(None)] if a == "ab" && b == "ab"),
        "{results:?}"
    );
    let gets = ["GET /m/1.%2Fx.json HTTP/1.1", "GET /t/a%20b/c HTTP/1.1", "GET /m/2.root.json HTTP/1.1"];
    assert_eq!(asked, [&["connect a.example:80"][..], &gets].concat());
    Ok(())
}

#[test]
fn connection_that_the_server_ended_is_opened_anew() -> Result<()> {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na";
    let twice = (Place::Metadata("a.json"), 0);
    let (results, asked) = answered(vec![("GET /m/a.json", last)], &[twice, twice])?;
    assert!(results.iter().all(|result| matches!(result, Ok(Some(text)) if text == "a")), "{results:?}");
    assert_eq!(asked.iter().filter(|line| line.starts_with("connect")).count(), 2);
    Ok(())
}

#[test]
fn middle_of_a_file_is_taken_as_such_alone() -> Result<()> {
    let part = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-1/2\r\nContent-Length: 1\r\n\r\nb";
    let other = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/2\r\nContent-Length: 1\r\n\r\na";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
    let ask = [(Place::Target("a"), 1)];
    let (results, asked) = answered(vec![("GET /t/a", part)], &ask)?;
    assert!(matches!(&results[..], [Ok(Some(text))] if text == "b"), "{results:?}");
    assert_eq!(asked[1], "GET /t/a HTTP/1.1 range: bytes=1-");
    // A server that knows no ranges would have the beginning written in the middle.
    for (answer, status) in [(whole, 200), (other, 206)] {
        let (results, _) = answered(vec![("GET /t/a", answer)], &ask)?;
        assert!(matches!(results[..], [Err(SourceError::Refused(is))] if is == status), "{results:?}");
    }
    Ok(())
}

#[test]
fn server_sends_us_elsewhere_a_few_times_at_most() -> Result<()> {
    let there = "HTTP/1.1 302 Found\r\nLocation: http://b.example:81/x?y=z\r\nContent-Length: 0\r\n\r\n";
    let file = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let ask = [(Place::Target("a"), 0)];
    let (results, asked) = answered(vec![("GET /t/a", there), ("GET /x?y=z", file)], &ask)?;
    assert!(matches!(&results[..], [Ok(Some(text))] if text == "a"), "{results:?}");
    assert_eq!(asked[2], "connect b.example:81");
    let (results, asked) = answered(vec![("GET", there)], &ask)?;
    assert!(matches!(results[..], [Err(SourceError::Form(_))]), "{results:?}");
    assert_eq!(asked.iter().filter(|line| line.starts_with("GET")).count(), 4);
    let nowhere = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n";
    let (results, _) = answered(vec![("GET", nowhere)], &ask)?;
    assert!(matches!(results[..], [Err(SourceError::Form(_))]), "{results:?}");
    Ok(())
}

#[test]
fn server_that_has_trouble_does_not_say_that_there_is_nothing() -> Result<()> {
    let trouble = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nab";
    let ask = [(Place::Metadata("2.root.json"), 0)];
    let (results, _) = answered(vec![("GET", trouble)], &ask)?;
    assert!(matches!(results[..], [Err(SourceError::Refused(500))]), "{results:?}");
    let (results, _) = answered(vec![("GET", short)], &ask)?;
    assert!(matches!(results[..], [Err(SourceError::Io(_))]), "{results:?}");
    let (results, _) = answered(vec![("GET", "no HTTP at all\r\n\r\n")], &ask)?;
    assert!(matches!(results[..], [Err(SourceError::Io(_))]), "{results:?}");
    Ok(())
}
