//! Attack: a server that gives a byte now and then, or none, so that a device never learns of anything newer.
//! Control: one that gives a byte as seldom, and then the rest.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::sleep;
use tuf::http::{Base, Connect, Http};
use tuf::source::{Body as _, Place, Source as _, SourceError};

/// A server in the same thread.
struct Server {
    /// Seconds between one byte and the next.
    pause_s: u64,
    /// How many bytes come so.
    slow: usize,
    /// What it says before.
    head: &'static str,
}

impl Connect for Server {
    type Stream = DuplexStream;

    async fn connect(&mut self, _: &Base) -> io::Result<DuplexStream> {
        let (ours, mut theirs) = duplex(64 << 10);
        let (pause, slow, head) = (Duration::from_secs(self.pause_s), self.slow, self.head);
        tokio::task::spawn_local(async move {
            let mut request = [0; 1024];
            let _ = theirs.read(&mut request).await;
            let _ = theirs.write_all(head.as_bytes()).await;
            for _ in 0..slow {
                sleep(pause).await;
                if theirs.write_all(b"x").await.is_err() {
                    return;
                }
            }
            let _ = theirs.write_all(&vec![b'x'; 100_000 - slow]).await;
        });
        Ok(ours)
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";

/// How many bytes come, with a clock that goes on by itself when nobody has anything to do.
fn fetched(server: Server) -> Result<Result<usize, SourceError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let base = Base::parse("http://a.example/").context("a base")?;
    let mut source = Http::new(server, base.clone(), base);
    Ok(tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut body =
            source.open(Place::Metadata("timestamp.json"), 0).await?.ok_or(SourceError::Refused(404))?;
        let mut length = 0;
        while let Some(chunk) = body.chunk().await? {
            length += chunk.len();
        }
        Ok(length)
    }))
}

#[test]
fn byte_now_and_then_is_too_slow() -> Result<()> {
    let result = fetched(Server { pause_s: 20, slow: 99_999, head: HEAD })?;
    assert!(matches!(result, Err(SourceError::Slow)), "{result:?}");
    Ok(())
}

#[test]
fn server_that_falls_silent_is_too_slow() -> Result<()> {
    for head in [HEAD, "HTTP/1.1 200 OK\r\nContent-Le", ""] {
        let result = fetched(Server { pause_s: 3_600_000, slow: 1, head })?;
        assert!(matches!(result, Err(SourceError::Slow)), "{result:?}");
    }
    Ok(())
}

#[test]
fn slow_beginning_is_waited_for() -> Result<()> {
    let length = fetched(Server { pause_s: 20, slow: 2, head: HEAD })??;
    assert_eq!(length, 100_000);
    Ok(())
}
