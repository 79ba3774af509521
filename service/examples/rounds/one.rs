//! One process on SQLite, beside the signatures of its rounds alone: three checked and two made, in the same run.

use crate::site::{PASSPHRASE, Site, authority, rounds, used};
use anyhow::{Result, ensure};
use service::clock::Clock;
use service::store::Store;
use std::time::Instant;

const DEVICES: usize = 64;
/// Rounds of each, and how often both are measured in turn.
const EACH: usize = 16;
const TURNS: usize = 5;

pub(crate) async fn run() -> Result<()> {
    let folder = crate::folder()?;
    let database = crate::sqlite(&folder);
    Store::migrate(&database).await?.0.close().await;
    let site = Site::open(&database, authority()?.open(PASSPHRASE)?, Clock::System).await?;
    let token = site.catalog().await?;
    let mut devices = Vec::new();
    for number in 0..DEVICES {
        devices.push(site.claimed(&token, number).await?);
    }
    rounds(&site, &devices, 1).await?;

    let count = DEVICES * EACH;
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (began, cpu) = (Instant::now(), used());
        rounds(&site, &devices, EACH).await?;
        let (took, whole) = (began.elapsed(), used() - cpu);
        let cpu = used();
        for _ in 0..count {
            let signed = (0..3).all(|_| site.signed.check()) && (0..2).all(|_| site.signed.sign());
            ensure!(signed, "a signature");
        }
        let alone = used() - cpu;
        let each = |all: std::time::Duration| all.as_secs_f64() * 1e6 / count as f64;
        println!("  a round: {:.0} us, its signatures alone: {:.0} us", each(whole), each(alone));
        ratios.push(whole.as_secs_f64() / alone.as_secs_f64());
        rates.push(count as f64 / took.as_secs_f64());
    }
    println!("cpu_ratio {:.3}", median(ratios));
    println!("rounds_per_s {:.0}", median(rates));
    site.service.store.close().await;
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}
