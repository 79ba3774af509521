//! One, two and four processes on one PostgreSQL: what a round costs each, and the database.
//!
//! By processor time, since they share the machine's processors here: if a round costs with four processes what it costs with
//! one, each is worth as much on a machine of its own. That holds until the database is busy, so its share is said as well.

use crate::postgres::Postgres;
use crate::site::{PASSPHRASE, Site, authority, rounds, used};
use anyhow::{Context as _, Result, ensure};
use service::ca::AuthorityFile;
use service::clock::Clock;
use service::store::Store;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The word that makes this program one of the processes.
pub(crate) const REPLICA: &str = "replica";
const DEVICES: usize = 16;
/// Rounds of each device of each process.
const EACH: usize = 40;

pub(crate) async fn run() -> Result<()> {
    let (folder, cluster) = (crate::folder()?, Postgres::start(true)?);
    let file = folder.path().join("authority.json");
    authority()?.write(&file)?;
    let mut costs = Vec::new();
    for processes in [1, 2, 4] {
        let database = cluster.database()?;
        Store::migrate(&database).await?.0.close().await;
        let site =
            Site::open(&database, AuthorityFile::read(&file)?.open(PASSPHRASE)?, Clock::System).await?;
        let token = site.catalog().await?;
        let mut devices = Vec::new();
        for number in 0..DEVICES * processes {
            devices.push(site.claimed(&token, number).await?);
        }
        let before = of_family(cluster.server.id())?;
        let cost = processor_time(&database, &file, &devices)?;
        let behind = of_family(cluster.server.id())? - before;
        site.service.store.close().await;
        let count = (devices.len() * EACH) as f64;
        let us = |time: Duration| time.as_secs_f64() * 1e6 / count;
        println!(
            "  {processes} processes: a round {:.0} us, and {:.0} us of the database",
            us(cost),
            us(behind)
        );
        costs.push((us(cost), us(behind)));
    }
    let [one, two, four] = costs[..] else { anyhow::bail!("three sizes were measured") };
    println!("two_vs_one {:.3}", two.0 / one.0);
    println!("four_vs_one {:.3}", four.0 / one.0);
    println!("database_four_vs_one {:.3}", four.1 / one.1);
    Ok(())
}

/// Runs the processes, at once, each with its devices; what they took together.
fn processor_time(database: &str, file: &Path, devices: &[String]) -> Result<Duration> {
    let start = |own: &[String]| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(REPLICA).arg(database).arg(file).args(own).stdout(Stdio::piped());
        anyhow::Ok(command.spawn()?)
    };
    let children = devices.chunks(DEVICES).map(start).collect::<Result<Vec<_>>>()?;
    let mut all = Duration::ZERO;
    for child in children {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "a process ended by {}", output.status);
        all += Duration::from_micros(String::from_utf8(output.stdout)?.trim().parse()?);
    }
    Ok(all)
}

/// One of the processes. It says how many microseconds of processor its rounds took.
pub(crate) async fn replica(arguments: &[String]) -> Result<()> {
    let [database, file, devices @ ..] = arguments else { anyhow::bail!("database, authority, devices") };
    let authority = AuthorityFile::read(Path::new(file))?.open(PASSPHRASE)?;
    let site = Site::open(database, authority, Clock::System).await?;
    rounds(&site, devices, 1).await?;
    let began = used();
    rounds(&site, devices, EACH).await?;
    println!("{}", (used() - began).as_micros());
    site.service.store.close().await;
    Ok(())
}

/// Processor time of a process and its children, those that ended too.
fn of_family(root: u32) -> Result<Duration> {
    let mut all: HashMap<u32, (u32, u64, u64)> = HashMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended meanwhile.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let field = |place: usize| fields.get(place).and_then(|text| text.parse::<u64>().ok());
        let (parent, own) = (field(1).unwrap_or(0), field(11).unwrap_or(0) + field(12).unwrap_or(0));
        let ended = field(13).unwrap_or(0) + field(14).unwrap_or(0);
        all.insert(pid, (u32::try_from(parent)?, own, ended));
    }
    let (_, own, ended) = all.get(&root).context("the database")?;
    let living: u64 = all.values().filter(|(parent, ..)| *parent == root).map(|(_, own, _)| own).sum();
    // Linux counts these in hundredths of a second, whatever the machine.
    Ok(Duration::from_millis((own + ended + living) * 10))
}
