//! The devices of `load`: each with a connection, as an update daemon has it.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use service::secrets;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The word that makes this program the devices.
pub(crate) const WORD: &str = "devices";
/// Handshakes that go on at a time: a fleet comes spread over minutes.
const AT_ONCE: usize = 32;

#[derive(Default)]
struct Counts {
    waiting: AtomicUsize,
    woken: AtomicUsize,
    asked: AtomicUsize,
    fetched: AtomicUsize,
    failed: AtomicUsize,
}

struct Fleet {
    address: SocketAddr,
    roots: RootCertStore,
    key: Vec<u8>,
    handshakes: Semaphore,
    counts: Counts,
}

/// Comes, waits, is woken, asks, fetches. Says how many of each went well, and how many did not.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let [address, folder, fetching, body] = arguments else { bail!("address, folder, how many fetch, what") };
    let folder = Path::new(folder);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(fs::read(folder.join("root"))?))?;
    let (key, certificates) = (fs::read(folder.join("key"))?, certificates(&folder.join("certificates"))?);
    let handshakes = Semaphore::new(AT_ONCE);
    let fleet =
        Arc::new(Fleet { address: address.parse()?, roots, key, handshakes, counts: Counts::default() });
    let (all, fetching) = (certificates.len(), fetching.parse::<usize>()?);
    let (woken, wait) = watch::channel(false);
    let mut tasks = Vec::new();
    for certificate in certificates {
        let (fleet, woken) = (fleet.clone(), woken.clone());
        tasks.push(tokio::spawn(async move {
            let done = fleet.device(certificate, &woken).await;
            fleet.note(done);
        }));
    }
    for _ in 0..fetching {
        let (fleet, mut wait, body) = (fleet.clone(), wait.clone(), body.clone());
        tasks.push(tokio::spawn(async move {
            let _first_device = wait.wait_for(|woken| *woken).await.map(drop);
            let done = fleet.fetch(&body).await;
            fleet.note(done);
        }));
    }
    let counts = &fleet.counts;
    while counts.waiting.load(Ordering::Relaxed) + counts.failed.load(Ordering::Relaxed) < all {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    println!("waiting");
    for task in tasks {
        task.await?;
    }
    println!("{} were woken", counts.woken.load(Ordering::Relaxed));
    println!("{} asked again and were told", counts.asked.load(Ordering::Relaxed));
    println!("{} fetched it whole", counts.fetched.load(Ordering::Relaxed));
    println!("{}", counts.failed.load(Ordering::Relaxed));
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = fs::read(path)?;
    let (mut rest, mut all) = (bytes.as_slice(), Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (one, behind) = behind
            .split_at_checked(usize::try_from(u32::from_be_bytes(*length))?)
            .context("a certificate is cut off")?;
        all.push(one.to_vec());
        rest = behind;
    }
    Ok(all)
}

impl Fleet {
    fn note(&self, done: Result<()>) {
        if let Err(error) = done
            && self.counts.failed.fetch_add(1, Ordering::Relaxed) < 5
        {
            eprintln!("a device: {error:#}");
        }
    }

    async fn connect(&self, own: Option<Vec<u8>>) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder =
            builder.with_safe_default_protocol_versions()?.with_root_certificates(self.roots.clone());
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(vec![own.into()], PrivatePkcs8KeyDer::from(self.key.clone()).into())?,
        };
        let _turn = self.handshakes.acquire().await?;
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?)
    }

    async fn device(&self, certificate: Vec<u8>, woken: &watch::Sender<bool>) -> Result<()> {
        let mut stream = self.connect(Some(certificate)).await?;
        let check = json!({"os": "1.0", "root_hash": "0a".repeat(32), "apps": []}).to_string();
        let post = format!(
            "POST /device/v1/updates HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{check}",
            check.len()
        );
        let told = json(200, ask(&mut stream, &post).await?)?;
        let wait = format!(
            "GET /device/v1/updates/wait?generation={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            told["generation"]
        );
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        loop {
            match ask(&mut stream, &wait).await? {
                (204, _) => continue,
                (200, _) => break,
                (status, body) => bail!("{status} {}", String::from_utf8_lossy(&body)),
            }
        }
        woken.send_replace(true);
        self.counts.woken.fetch_add(1, Ordering::Relaxed);
        let told = json(200, ask(&mut stream, &post).await?)?;
        ensure!(told["releases"].as_array().map(Vec::len) == Some(1), "{told}");
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn fetch(&self, sha256: &str) -> Result<()> {
        let mut stream = self.connect(None).await?;
        let get = format!("GET /updates/v1/targets/blobs/{sha256} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (status, body) = ask(&mut stream, &get).await?;
        ensure!(status == 200 && secrets::sha256(&body) == sha256, "{status}, {} bytes", body.len());
        self.counts.fetched.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Sends a request and reads its answer, on a connection that stays.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Result<(u16, Vec<u8>)> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let (mut answer, mut part) = (Vec::new(), [0; 2048]);
    let end = loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let read = stream.read(&mut part).await?;
        ensure!(read > 0, "the connection ended");
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
    };
    let head = String::from_utf8(answer.get(..end).unwrap_or_default().to_vec())?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(Ok(0), str::parse::<usize>)?;
    let mut body = answer.split_off(end);
    let there = body.len();
    body.resize(length, 0);
    stream.read_exact(body.get_mut(there..).unwrap_or_default()).await?;
    Ok((status, body))
}

fn json(wanted: u16, (status, body): (u16, Vec<u8>)) -> Result<Value> {
    ensure!(status == wanted, "{status} {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}
