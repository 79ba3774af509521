//! Nothing acknowledged is lost: the service is killed by SIGKILL in the middle of work, on either database, again and again.
//!
//! Devices enrol, are claimed, attest and report, eight at once; each keeps what it was told. One of two that enrols is claimed
//! only after the kill. When enough was acknowledged
//! the process is killed, another is started on the same state, and all of it has to be there: each device in its catalog,
//! each certificate, each report, counted once. What was asked and not answered may be there or not, whole.
//!
//! The service is this very program, started once more.

#[expect(dead_code, reason = "it is the API tests' support, of which this uses a part")]
mod support;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use service::ca::AuthorityFile;
use service::store::Store;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use support::actors::{Device, catalog, report, sign_in};
use support::client::Client;
use support::postgres::Postgres;
use support::{BEGIN, PASSPHRASE, Site, generous, runtime, sqlite};

/// Says to this program that it is the service, and of which database.
const CHILD: &str = "GABION_KILL_TEST_DATABASE";
/// The authority's file.
const FILE: &str = "GABION_KILL_TEST_AUTHORITY";
/// Answers after which the service is killed, and how often that is done.
const ANSWERS: usize = 60;
const ROUNDS: usize = 3;
const WORKERS: usize = 8;

fn main() -> Result<()> {
    if let (Ok(database), Ok(file)) = (std::env::var(CHILD), std::env::var(FILE)) {
        return runtime()?.block_on(child(&database, Path::new(&file)));
    }
    let folder = tempfile::tempdir()?;
    let cluster = Postgres::start(true)?;
    for database in [sqlite(folder.path()), cluster.database()?] {
        let kind = database.split(':').next().unwrap_or_default().to_owned();
        let kept = runtime()?.block_on(parent(&database)).context(kind.clone())?;
        println!("{kind}: {ROUNDS} kills, {kept} acknowledged, nothing lost");
    }
    println!("test result: ok. 2 passed; 0 failed");
    Ok(())
}

async fn child(database: &str, file: &Path) -> Result<()> {
    let site = Site::serve(database, AuthorityFile::read(file)?, BEGIN, generous()).await?;
    println!("{} {}", site.running.address, site.code);
    std::future::pending().await
}

/// What was acknowledged of one device.
#[derive(Default)]
struct Kept {
    certificates: usize,
    reports: u32,
    /// Asked for and not answered.
    open_reports: u32,
}

/// What was acknowledged.
#[derive(Clone, Default)]
struct Told {
    /// Claimed devices.
    claimed: Arc<Mutex<Vec<(String, Kept)>>>,
    /// Devices that were enrolled and that nobody has claimed.
    waiting: Arc<Mutex<Vec<Device>>>,
}

async fn parent(database: &str) -> Result<usize> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("authority.json");
    let authority = AuthorityFile::make(&["localhost".to_owned()], PASSPHRASE, NonZeroU32::MIN, BEGIN)?;
    authority.write(&file)?;
    let root = authority.open(PASSPHRASE)?.root().to_vec();
    Store::migrate(database).await?.0.close().await;
    let told = Told::default();
    let answers = Arc::new(AtomicUsize::new(0));
    for round in 0..=ROUNDS {
        let (mut service, address, code) = start(database, &file)?;
        let client = Client::new(address, &root, None)?.at(BEGIN)?;
        let operator = sign_in(&client, &code).await?;
        if round == 0 {
            catalog(&operator, "one").await?;
        }
        look(&operator, &told).await.with_context(|| format!("after {round} kills"))?;
        claim_waiting(&operator, &told).await.with_context(|| format!("after {round} kills"))?;
        if round < ROUNDS {
            let goal = answers.load(Ordering::Relaxed) + ANSWERS;
            let work = |worker| {
                let (client, operator, root) = (client.clone(), operator.clone(), root.clone());
                let (told, answers) = (told.clone(), answers.clone());
                let name = format!("{round}-{worker}");
                tokio::spawn(
                    async move { work(&name, address, &root, &client, &operator, &told, &answers).await },
                )
            };
            let workers: Vec<_> = (0..WORKERS).map(work).collect();
            while answers.load(Ordering::Relaxed) < goal {
                ensure!(workers.iter().any(|worker| !worker.is_finished()), "everybody gave up");
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            service.kill()?;
            for worker in workers {
                // Each ends by an answer that did not come.
                ensure!(worker.await?.is_err(), "the service is dead");
            }
        } else {
            service.kill()?;
        }
        service.wait()?;
    }
    Ok(answers.load(Ordering::Relaxed))
}

fn start(database: &str, file: &Path) -> Result<(Child, SocketAddr, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(CHILD, database)
        .env(FILE, file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
    let (address, code) = line.trim().split_once(' ').with_context(|| format!("it said {line:?}"))?;
    Ok((child, address.parse()?, code.to_owned()))
}

async fn work(
    name: &str,
    address: SocketAddr,
    root: &[u8],
    client: &Client,
    operator: &Client,
    told: &Told,
    answers: &AtomicUsize,
) -> Result<()> {
    let note = |change: &dyn Fn(&mut Kept), device: &str| {
        let mut told = told.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter_mut().filter(|(id, _)| id == device).for_each(|(_, kept)| change(kept));
    };
    let answered = |change: &dyn Fn(&mut Kept), device: &str| {
        answers.fetch_add(1, Ordering::Relaxed);
        note(change, device);
    };
    for number in 0.. {
        let later = Device::enrol(client, &format!("{name}-{number}-later")).await?;
        told.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(later);
        answered(&|_| (), "");
        let device = Device::enrol(client, &format!("{name}-{number}")).await?;
        let code = device.claim_code.clone().context("a code")?;
        device.claim(operator, "one", &code).await?.json(201)?;
        let id = device.id.clone();
        told.claimed.lock().unwrap_or_else(PoisonError::into_inner).push((id.clone(), Kept::default()));
        answered(&|_| (), &id);
        let granted = device.attest(client, b"good").await?.json(200)?;
        answered(&|kept| kept.certificates = 2, &id);
        let certified = device.with_certificate(address, root, &granted)?.at(BEGIN)?;
        for batch in 0..3 {
            note(&|kept| kept.open_reports = 1, &id);
            let reports = json!({"batch": batch, "reports": [report("SIGSEGV", 1)]});
            certified.post("/device/v1/reports", reports).await?.json(200)?;
            answered(&|kept| (kept.reports, kept.open_reports) = (kept.reports + 1, 0), &id);
        }
    }
    Ok(())
}

/// Who was told that it is enrolled is still there, with the code it was told.
async fn claim_waiting(operator: &Client, told: &Told) -> Result<()> {
    let all = told.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect::<Vec<_>>();
    for device in all {
        let code = device.claim_code.clone().context("a code")?;
        device.claim(operator, "one", &code).await?.json(201).context("an enrolled device")?;
        told.claimed.lock().unwrap_or_else(PoisonError::into_inner).push((device.id, Kept::default()));
    }
    Ok(())
}

async fn look(operator: &Client, told: &Told) -> Result<()> {
    let mut all = told.claimed.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect::<Vec<_>>();
    for (device, kept) in &mut all {
        let at = format!("/v1/catalogs/one/devices/{device}");
        operator.get(&at).await?.json(200).context("a claimed device")?;
        let certificates = operator.get(&format!("{at}/certificates")).await?.json(200)?;
        let certificates = certificates.as_array().map_or(0, Vec::len);
        ensure!(certificates >= kept.certificates && certificates % 2 == 0, "{certificates} certificates");
        let reports = operator.get(&format!("/v1/catalogs/one/reports?device={device}")).await?.json(200)?;
        let count = reports["items"][0]["count"].as_u64().unwrap_or(0);
        let range = u64::from(kept.reports)..=u64::from(kept.reports + kept.open_reports);
        ensure!(range.contains(&count), "{count} reports instead of {range:?}");
        // What was open is settled now.
        (kept.reports, kept.open_reports) = (u32::try_from(count)?, 0);
        kept.certificates = certificates;
    }
    *told.claimed.lock().unwrap_or_else(PoisonError::into_inner) = all;
    Ok(())
}
