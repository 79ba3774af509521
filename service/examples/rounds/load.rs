//! Ten thousand devices that wait for updates while a thousand fetch one, from one process.
//!
//! All of it is real but the devices' certificates, which nobody granted: each device has a TLS connection of its own with a
//! certificate of its own, says what it runs, and waits. Then there is a deployment. All of them are woken and ask again, and a
//! thousand fetch the same release's body, a connection each, and check its digest. The devices are another process
//! (`devices`), since one may not open as many files. What is counted is every answer that is another than it has to be.

use crate::client::Client;
use crate::devices;
use crate::site::{PASSPHRASE, Site, authority};
use anyhow::{Context as _, Result, ensure};
use rcgen::{CertificateParams, KeyPair, SerialNumber};
use repository::Repository;
use repository::edit::{Beginning, Holders};
use repository::folder::Periods;
use repository::keys::{KeyFile, Signer};
use serde_json::{Value, json};
use service::artefacts::Artefacts;
use service::clock::Clock;
use service::outgoing::Outgoing;
use service::refusal::Refusal;
use service::secrets;
use service::serve::serve;
use service::store::Store;
use service::tls::{OwnCertificate, server_config};
use service_api::Bytes;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tuf::custom::{Custom, Kind};
use tuf::key::Key;

const DEVICES: usize = 10_000;
const FETCHING: usize = 1000;
/// Bytes of the body that is fetched: more than an update of one daemon is, and less than a whole system.
const BODY: usize = 1 << 20;
const TARGET: &str = "os/pump/1.1.json";

pub(crate) async fn run() -> Result<()> {
    let folder = crate::folder()?;
    let database = crate::sqlite(&folder);
    Store::migrate(&database).await?.0.close().await;
    let mut site = Site::open(&database, authority()?.open(PASSPHRASE)?, Clock::System).await?;
    let store = folder.path().join("artefacts");
    let artefacts = Artefacts::open(store.to_str().context("a path")?, [], &Outgoing::new(b"")?)?;
    site.with_artefacts(artefacts)?;
    let token = site.catalog().await?;
    let certificates = certificates(folder.path())?;
    enrol(&site, &certificates).await.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;

    let (stop, stopped) = watch::channel(false);
    let names = ["localhost".to_owned()];
    let (certificate, key) =
        site.service.authority.server_certificate(&names, Clock::System.now(), 86_400)?;
    let tls = server_config(Arc::new(OwnCertificate::new(vec![certificate], key)?))?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    let people = Client::new(address, site.service.authority.root(), None)?.with_token(&token);
    let served =
        serve(listener, Some(TlsAcceptor::from(Arc::new(tls))), site.router.clone(), stopped.clone());
    let served = tokio::spawn(served);
    let watching = site.service.clone();
    let watched = tokio::spawn(async move { watching.waiting.watch(&watching.store, stopped).await });
    let body = release(&people, folder.path()).await?;

    fs::write(folder.path().join("root"), site.service.authority.root())?;
    let began = Instant::now();
    let (mut child, mut said) = start(folder.path(), address, &body)?;
    ensure!(next(&mut said).await? == "waiting", "the devices do not wait");
    println!(
        "  {DEVICES} devices wait, {:.0} s after the first one connected",
        began.elapsed().as_secs_f64()
    );
    let memory = status("VmRSS")?;
    let began = Instant::now();
    let new = json!({"product": "pump", "group": "field", "releases": [TARGET]});
    people.post("/v1/catalogs/one/deployments", new).await?.json(201)?;
    let (woken, asked) = (next(&mut said).await?, next(&mut said).await?);
    let (fetched, failed) = (next(&mut said).await?, next(&mut said).await?);
    println!("  {woken}; {asked}; {fetched}; in {:.0} s after the deployment", began.elapsed().as_secs_f64());
    ensure!(child.wait().await?.success(), "the devices did not end well");
    stop.send_replace(true);
    served.await?;
    watched.await?;
    site.service.store.close().await;
    println!("errors {failed}");
    println!("waiting_kib_each {:.2}", memory / DEVICES as f64);
    println!("memory_mib {:.1}", status("VmHWM")? / 1024.0);
    Ok(())
}

fn start(
    folder: &Path,
    address: SocketAddr,
    body: &str,
) -> Result<(Child, tokio::io::Lines<BufReader<ChildStdout>>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(devices::WORD).arg(address.to_string()).arg(folder).arg(FETCHING.to_string()).arg(body);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let said = child.stdout.take().context("its output")?;
    Ok((child, BufReader::new(said).lines()))
}

async fn next(said: &mut tokio::io::Lines<BufReader<ChildStdout>>) -> Result<String> {
    said.next_line().await?.context("the devices ended")
}

/// A certificate for each device, of one key; the files that the other process reads. Their digests.
fn certificates(folder: &Path) -> Result<Vec<String>> {
    let key = KeyPair::generate()?;
    fs::write(folder.join("key"), key.serialize_der())?;
    let (mut all, mut digests) = (Vec::new(), Vec::new());
    for number in 0..DEVICES {
        let mut params = CertificateParams::new(Vec::new())?;
        params.serial_number = Some(SerialNumber::from(u64::try_from(number)? + 1));
        let certificate = params.self_signed(&key)?;
        digests.push(secrets::sha256(certificate.der()));
        all.extend_from_slice(&u32::try_from(certificate.der().len())?.to_be_bytes());
        all.extend_from_slice(certificate.der());
    }
    fs::write(folder.join("certificates"), all)?;
    Ok(digests)
}

/// Writes the devices as they are once they were granted these certificates.
async fn enrol(site: &Site, certificates: &[String]) -> Result<(), Refusal> {
    let (now, certificates) = (site.service.now(), certificates.to_vec());
    let write = site.service.store.write(move |connection| {
        Box::pin(async move {
            for digest in certificates {
                sqlx::query(
                    "INSERT INTO device (id, ek_public, ak_public, enrolled, catalog, product, device_group, state)
                     VALUES ($1, $2, $2, $3, 'one', 'pump', 'field', 'active')",
                )
                .bind(digest.clone())
                .bind(&b"key"[..])
                .bind(now)
                .execute(&mut *connection)
                .await?;
                sqlx::query(
                    "INSERT INTO certificate (serial, catalog, device, subject, not_before, not_after, sha256)
                     VALUES ($1, 'one', $1, 'device', $2, $3, $1)",
                )
                .bind(digest)
                .bind(now - 60)
                .bind(now + 86_400)
                .execute(&mut *connection)
                .await?;
            }
            Ok(())
        })
    });
    write.await
}

/// Publishes a repository with one release of the system. The digest of its body.
async fn release(people: &Client, folder: &Path) -> Result<String> {
    let online = people.send("POST", "/v1/updates/keys", None).await?.json(201)?;
    let online = secrets::unhex(online["public"].as_str().context("a key")?).context("a key")?;
    let file = KeyFile::make("passphrase", NonZeroU32::MIN)?;
    let signer: Signer = file.open("passphrase", Path::new("key"))?;
    let held = |key: &Key| Holders { keys: vec![key.clone()], threshold: 1 };
    let (ours, online) = (held(&file.public), held(&Key::ed25519(&online)));
    let begin = Beginning {
        root: ours.clone(),
        targets: ours.clone(),
        snapshot: online.clone(),
        timestamp: online,
        os: ours,
    };
    let place = folder.join("repository");
    let repository = Repository::init(&place, Periods::default(), &begin, Clock::System.now())?;
    let body: Vec<u8> = (0..BODY).map(|at| u8::try_from(at * 7 % 251).unwrap_or(0)).collect();
    let sha256 = secrets::sha256(&body);
    let kind = "application/octet-stream";
    people.raw("PUT", &format!("/v1/catalogs/one/artefacts/{sha256}"), kind, Some(&body)).await?.json(201)?;
    let blob = json!({"sha256": sha256, "length": BODY});
    let image =
        |role: &str| json!({"role": role, "content": blob, "offers": [{"index": blob, "body": blob}]});
    let mut root = image("root");
    root["verity"] = json!("data_blocks=1");
    let document =
        json!({"what": {"os": "pump"}, "version": "1.1", "images": [root, image("kernel")]}).to_string();
    fs::write(folder.join("document"), &document)?;
    let custom: Custom = serde_json::from_value(json!({"kind": Kind::Os, "version": "1.1"}))?;
    repository.add(TARGET, &folder.join("document"), &custom)?;
    repository.sign(&signer, None)?;
    let b64 = |bytes: Vec<u8>| Bytes::<1_000_000>::new(bytes).unwrap_or_default().encode();
    let staged = |role: &str| -> Result<Value> {
        Ok(json!({"role": role, "content": b64(repository.staged_file(role)?)}))
    };
    let roles = ["root", "targets", "os"].map(staged).into_iter().collect::<Result<Vec<_>>>()?;
    let documents = json!([{"target": TARGET, "content": b64(document.into_bytes())}]);
    let new = json!({"roles": roles, "documents": documents});
    people.post("/v1/catalogs/one/updates", new).await?.json(201)?;
    Ok(sha256)
}

/// A line of this process' status, KiB.
fn status(name: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no such line")?.parse()?)
}
