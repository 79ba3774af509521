//! The Security Service's store of artefacts: in a folder, and in an S3 server that others wrote (the Python package
//! `moto`). Both go through the same.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use conformance::python;
use futures_util::{TryStreamExt, stream};
use service::artefacts::{ArtefactError, Artefacts};
use service::outgoing::Outgoing;
use service::secrets;
use service_api::{Digest, Name};

/// What is put at a time; no divisor of a part.
const CHUNK: usize = 1_000_003;

/// moto, which ends with this.
struct S3 {
    child: Child,
    port: u16,
}

impl S3 {
    fn start() -> Result<Self> {
        let mut python = python::with_s3()?;
        python.arg(python::scripts().join("s3.py"));
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let port = line.trim().parse().context("the server's port")?;
        Ok(Self { child, port })
    }

    fn store(&self, key: &str) -> Result<Artefacts> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let environment = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("HOME", "/"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Artefacts::open("s3://artefacts/some/where", environment, &Outgoing::new(b"")?)?)
    }

    /// What the server answers to anybody.
    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn digest(bytes: &[u8]) -> Result<Digest> {
    Ok(secrets::sha256(bytes).parse()?)
}

/// Puts bytes; `cut` after them nothing more comes, although it should.
async fn put(
    store: &Artefacts,
    catalog: &Name,
    sha256: &Digest,
    bytes: &[u8],
    cut: bool,
) -> Result<u64, ArtefactError> {
    let chunks = bytes.chunks(CHUNK).map(|chunk| Ok(chunk.to_vec().into()));
    let end = cut.then_some(Err("cut"));
    store.put(catalog, sha256, stream::iter(chunks.chain(end))).await
}

async fn got(store: &Artefacts, catalog: &str, sha256: &Digest, range: Range<u64>) -> Result<Vec<u8>> {
    let parts = store.get(&catalog.parse()?, sha256, range).await?;
    let parts: Vec<_> = parts.try_collect().await?;
    Ok(parts.concat())
}

/// What every store does.
async fn artefact_is_there_whole_or_not_at_all(store: &Artefacts) -> Result<()> {
    let one: Name = "one".parse()?;
    // Two parts and a bit; one; exactly two; nothing.
    for length in [17 << 20, 5, 16 << 20, 0] {
        let artefact = bytes(length);
        let sha256 = digest(&artefact)?;
        let nothing = got(store, "one", &sha256, 0..1).await;
        ensure!(nothing.is_err(), "{length}: there before it was put");
        assert!(matches!(put(store, &one, &sha256, &artefact, true).await, Err(ArtefactError::Cut)));
        let mut other = artefact.clone();
        other.push(0);
        let found = match put(store, &one, &sha256, &other, false).await {
            Err(ArtefactError::Other(found)) => found,
            answer => anyhow::bail!("{length}: {answer:?}"),
        };
        assert_eq!(found, secrets::sha256(&other));
        ensure!(got(store, "one", &sha256, 0..1).await.is_err(), "{length}: there after a refusal");
        assert_eq!(put(store, &one, &sha256, &artefact, false).await?, length as u64);
        let end = length as u64;
        let edge = 8 << 20;
        for range in [0..end, 0..end.min(1), edge - 3..edge + 3, end.saturating_sub(7)..end] {
            let range = range.start.min(end)..range.end.min(end);
            let expected = &artefact[usize::try_from(range.start)?..usize::try_from(range.end)?];
            ensure!(got(store, "one", &sha256, range.clone()).await? == expected, "{length}: {range:?}");
        }
        // Again, and again refused: what is there stays.
        put(store, &one, &sha256, &artefact, false).await?;
        ensure!(put(store, &one, &sha256, &other, false).await.is_err(), "something else");
        ensure!(got(store, "one", &sha256, 0..end).await? == artefact, "{length}: afterwards");
        ensure!(got(store, "two", &sha256, 0..end.max(1)).await.is_err(), "another catalog has none");
    }
    Ok(())
}

fn files(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        count += if path.is_dir() { files(&path)? } else { 1 };
    }
    Ok(count)
}

#[test]
fn folder_has_artefacts_whole_or_not_at_all() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let address = folder.path().to_str().context("a path")?;
    let store = Artefacts::open(address, [], &Outgoing::new(b"")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(artefact_is_there_whole_or_not_at_all(&store))?;
    let nowhere = runtime.block_on(store.elsewhere(&"one".parse()?, &digest(&bytes(5))?))?;
    ensure!(nowhere.is_none(), "a folder is nobody's server");
    // What was given up is removed by tasks that end with the runtime.
    drop(runtime);
    assert_eq!(files(folder.path())?, 4, "parts of uploads that were refused are left");
    Ok(())
}

#[test]
fn s3_has_artefacts_whole_or_not_at_all() -> Result<()> {
    let server = S3::start()?;
    let store = server.store("test")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(artefact_is_there_whole_or_not_at_all(&store))?;
    // Uploads that were refused are aborted by tasks of their own.
    let left = || -> Result<bool> { Ok(server.get("/artefacts?uploads")?.contains("<Upload>")) };
    for _ in 0..3000 {
        if !left()? {
            break;
        }
        runtime.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(20)).await });
    }
    ensure!(!left()?, "parts of uploads that were refused are left");
    let listed = server.get("/artefacts?list-type=2")?;
    assert_eq!(listed.matches("<Key>").count(), 4, "{listed}");
    // Whoever is sent on to the store has it from there, by an address that is signed for a while.
    let (catalog, text) = ("one".parse()?, b"an index of a release");
    let sha256 = digest(text)?;
    runtime.block_on(put(&store, &catalog, &sha256, text, false))?;
    let elsewhere = runtime.block_on(store.elsewhere(&catalog, &sha256))?.context("an address")?;
    ensure!(
        elsewhere.contains("X-Amz-Signature=") && elsewhere.contains("X-Amz-Expires=3600"),
        "{elsewhere}"
    );
    let path =
        elsewhere.strip_prefix(&format!("http://127.0.0.1:{}", server.port)).context("the store's own")?;
    ensure!(server.get(path)?.ends_with("an index of a release"), "{path}");
    Ok(())
}

#[test]
fn upload_takes_two_parts_of_memory_whatever_its_length() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let address = folder.path().to_str().context("a path")?;
    let store = Artefacts::open(address, [], &Outgoing::new(b"")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let chunk = vec![7_u8; 1 << 20];
    let mut whole = ring::digest::Context::new(&ring::digest::SHA256);
    (0..160).for_each(|_| whole.update(&chunk));
    let sha256: Digest = secrets::hex(whole.finish().as_ref()).parse()?;
    let before = peak_kib()?;
    let chunks = stream::iter((0..160).map(|_| Ok::<_, String>(chunk.clone().into())));
    let size = runtime.block_on(store.put(&"one".parse()?, &sha256, chunks))?;
    assert_eq!(size, 160 << 20);
    // The other tests of this file run beside it, with at most 34 MiB each of what they put.
    let grown = peak_kib()?.saturating_sub(before);
    ensure!(grown < 120 << 10, "{grown} KiB for 160 MiB");
    Ok(())
}

fn peak_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
