//! A hundred thousand devices that come every twenty hours, by a clock that is set.
//!
//! All are enrolled, with three days of certificates behind each. Then each comes once. Some come by TLS, two connections
//! each, one after another, as they do when one comes every 0.7 s: what such a visit takes of a processor is what the share
//! of a core is computed from, the peer's half of the handshakes included. The others come to the handlers, all those between two of the
//! former at once: they share the wait for the disk, which is not what is measured. What has ended
//! is removed each minute of the fleet's time. The memory is the most that this process had, these peers included.

use crate::client::Client;
use crate::recorded::AK;
use crate::site::{PASSPHRASE, Site, authority, used};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use service::clock::Clock;
use service::refusal::Refusal;
use service::secrets;
use service::serve::serve;
use service::store::Store;
use service::tls::{OwnCertificate, server_config};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

const DEVICES: usize = 100_000;
/// One of so many comes by TLS.
const SAMPLE: usize = 50;
/// Seconds after which a device comes again.
const EVERY_S: i64 = 72_000;
/// Certificates of each device that are there already.
const BEFORE: i64 = 3;
/// About what a TPM's certificate has.
const EK_CERTIFICATE: [u8; 1024] = [0x30; 1024];

pub(crate) async fn run() -> Result<()> {
    let folder = crate::folder()?;
    let database = crate::sqlite(&folder);
    Store::migrate(&database).await?.0.close().await;
    let begin = Clock::System.now();
    let clock = Arc::new(AtomicI64::new(begin));
    let site = Site::open(&database, authority()?.open(PASSPHRASE)?, Clock::Set(clock.clone())).await?;
    site.catalog().await?;
    enrol(&site, begin).await.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    let size = std::fs::metadata(folder.path().join("state.sqlite"))?.len();
    println!("  {DEVICES} devices in a database of {} MiB", size >> 20);

    let (stop, stopped) = watch::channel(false);
    let names = ["localhost".to_owned()];
    let (certificate, key) = site.service.authority.server_certificate(&names, begin, 86_400)?;
    let tls = server_config(Arc::new(OwnCertificate::new(vec![certificate], key)?))?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let client = Client::new(listener.local_addr()?, site.service.authority.root(), None)?;
    let served = serve(listener, Some(TlsAcceptor::from(Arc::new(tls))), site.router.clone(), stopped);
    let served = tokio::spawn(served);

    let (mut sampled, mut tidied) = (Duration::ZERO, Duration::ZERO);
    let (mut visits, mut minute) = (0_u32, 0);
    for first in (0..DEVICES).step_by(SAMPLE) {
        let since = EVERY_S * i64::try_from(first)? / i64::try_from(DEVICES)?;
        clock.store(begin + since, Ordering::Relaxed);
        if since / 60 > minute {
            minute = since / 60;
            let cpu = used();
            site.service.store.tidy(begin + since).await.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
            tidied += used() - cpu;
        }
        let cpu = used();
        visit(&site, &client, &id(first)).await?;
        (sampled, visits) = (sampled + (used() - cpu), visits + 1);
        let others: Vec<String> = (first + 1..(first + SAMPLE).min(DEVICES)).map(id).collect();
        crate::site::rounds(&site, &others, 1).await?;
    }
    stop.send_replace(true);
    served.await?;
    site.service.store.close().await;
    let each = sampled / visits;
    println!(
        "  a visit by TLS: {} us of a processor; removing what ended: {tidied:.1?} in all",
        each.as_micros()
    );
    let busy = each.as_secs_f64() * DEVICES as f64 + tidied.as_secs_f64();
    println!("core_percent {:.3}", busy * 100.0 / EVERY_S as f64);
    println!("memory_mib {:.1}", most_memory()? / 1024.0);
    Ok(())
}

async fn visit(site: &Site, client: &Client, device: &str) -> Result<()> {
    let nonce = client.post("/device/v1/nonces", json!({"device": device})).await?.json(201)?;
    let evidence = site.evidence(device, &nonce)?;
    let evidence = Some(evidence.as_bytes());
    let granted =
        client.raw("POST", "/device/v1/attestations", "application/json", evidence).await?.json(200)?;
    ensure!(granted["certificates"][0]["chain"].is_array(), "{granted}");
    Ok(())
}

fn id(number: usize) -> String {
    secrets::sha256(&number.to_be_bytes())
}

/// Writes the devices as they are once they have enrolled and were claimed, and certificates that were granted before.
async fn enrol(site: &Site, now: i64) -> Result<(), Refusal> {
    for first in (0..DEVICES).step_by(1000) {
        let write = site.service.store.write(move |connection| {
            Box::pin(async move {
                for number in first..(first + 1000).min(DEVICES) {
                    sqlx::query(
                        "INSERT INTO device (id, ek_public, ek_certificate, ak_public, enrolled, catalog, product,
                             device_group, state) VALUES ($1, $2, $3, $2, $4, 'one', 'pump', 'field', 'active')",
                    )
                    .bind(id(number))
                    .bind(AK)
                    .bind(&EK_CERTIFICATE[..])
                    .bind(now)
                    .execute(&mut *connection)
                    .await?;
                    for before in 0..BEFORE {
                        let digest = secrets::sha256(format!("{number} {before}").as_bytes());
                        sqlx::query(
                            "INSERT INTO certificate (serial, catalog, device, subject, not_before, not_after, sha256)
                             VALUES ($1, 'one', $2, 'device', $3, $4, $5)",
                        )
                        .bind(digest.get(..22).unwrap_or_default().to_owned())
                        .bind(id(number))
                        .bind(now - before * EVERY_S)
                        .bind(now + 86_400 - before * EVERY_S)
                        .bind(digest)
                        .execute(&mut *connection)
                        .await?;
                    }
                }
                Ok(())
            })
        });
        write.await?;
    }
    Ok(())
}

/// The most memory that this process had at any time, KiB.
fn most_memory() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}
