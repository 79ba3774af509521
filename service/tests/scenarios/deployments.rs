//! Roll-outs that would wait for ever: for devices that are gone, that are ahead, or that have only to remove something.

use super::updates::{OS, asks, check, deploy, outcome};
use crate::support::actors::{Device, catalog, operator};
use crate::support::client::Client;
use crate::support::releases::Releaser;
use crate::support::{BEGIN, Site, generous};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use service::refusal::Refusal;
use service::store::Store;
use service::store::deployments::recount_all;
use std::time::{Duration, Instant};

/// Devices of group `field`, with their certificates, two systems for catalog `one`, a second group, and who releases more.
pub(crate) async fn begin(site: &Site, devices: usize) -> Result<(Client, Vec<(Device, Client)>, Releaser)> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let groups = "/v1/catalogs/one/products/pump/groups";
    operator.post(groups, json!({"name": "drawer"})).await?.json(201)?;
    let releaser = Releaser::begin(&operator).await?;
    for target in &OS[..2] {
        releaser.release(&operator, target).await?;
    }
    let mut all = Vec::new();
    for number in 0..devices {
        let device = Device::claimed(site, &format!("device {number}"), &operator, "one").await?;
        let client = device.certified(site).await?;
        all.push((device, client));
    }
    Ok((operator, all, releaser))
}

pub(crate) async fn shown(operator: &Client, made: &Value) -> Result<Value> {
    operator.get(&format!("/v1/catalogs/one/deployments/{}", made["number"])).await?.json(200)
}

pub(crate) fn counts(shown: &Value) -> [u64; 5] {
    ["chosen", "told", "complete", "failed", "rolled_back"]
        .map(|key| shown["devices"][key].as_u64().unwrap_or(u64::MAX))
}

pub(crate) async fn wave_goes_on_without_devices_that_were_revoked_moved_or_given_up(
    site: &Site,
) -> Result<()> {
    let (operator, devices, _) = begin(site, 5).await?;
    let waves = json!([{"percent": 100, "success_percent": 100, "error_percent": 100}]);
    let made = deploy(&operator, &OS[..1], json!({"waves": waves})).await?;
    for (_, client) in &devices {
        asks(client, "0.9", json!([])).await?;
    }
    asks(&devices[0].1, "1.0", json!([outcome(OS[0], "complete", "")])).await?;
    asks(&devices[1].1, "0.9", json!([outcome(OS[0], "failed", "no space")])).await?;
    asks(&devices[2].1, "0.9", json!([outcome(OS[0], "rolled-back", "no network")])).await?;
    assert_eq!(counts(&shown(&operator, &made).await?), [5, 5, 1, 1, 1]);

    let path = |device: &Device, rest: &str| format!("/v1/catalogs/one/devices/{}{rest}", device.id);
    let revocation = path(&devices[1].0, "/revocation");
    operator.send("PUT", &revocation, None).await?.json(204)?;
    operator.send("PUT", &revocation, None).await?.json(204)?;
    assert_eq!(counts(&shown(&operator, &made).await?), [4, 4, 1, 0, 1], "once, however often it is said");
    operator.send("DELETE", &revocation, None).await?.json(204)?;
    assert_eq!(counts(&shown(&operator, &made).await?), [5, 5, 1, 1, 1], "it is back, and is waited for");
    operator.send("PUT", &revocation, None).await?.json(204)?;
    let drawer = json!({"product": "pump", "group": "drawer"});
    operator.send("PUT", &path(&devices[2].0, "/placement"), Some(&drawer)).await?.json(204)?;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([3, 3, 1, 0, 0], &json!("running")));
    asks(&devices[3].1, "1.0", json!([outcome(OS[0], "complete", "")])).await?;
    operator.send("DELETE", &path(&devices[4].0, "/claim"), None).await?.json(204)?;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([2, 2, 2, 0, 0], &json!("finished")));
    Ok(())
}

pub(crate) async fn device_that_runs_something_newer_has_nothing_to_do(site: &Site) -> Result<()> {
    let (operator, devices, _) = begin(site, 2).await?;
    let waves = json!([{"percent": 100, "success_percent": 100}]);
    let made = deploy(&operator, &OS[..1], json!({"waves": waves})).await?;
    asks(&devices[0].1, "1.0.1", json!([])).await?;
    asks(&devices[1].1, "0.10", json!([])).await?;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([2, 2, 1, 0, 0], &json!("running")));
    asks(&devices[1].1, "1.10", json!([])).await?;
    assert_eq!(shown(&operator, &made).await?["state"], "finished");
    Ok(())
}

pub(crate) async fn wave_that_nobody_completes_is_followed_by_the_next_at_somebodys_word(
    site: &Site,
) -> Result<()> {
    let (operator, devices, _) = begin(site, 6).await?;
    let waves = json!([{"percent": 50, "success_percent": 100}, {"percent": 100, "success_percent": 100}]);
    let made = deploy(&operator, &OS[..1], json!({"waves": waves})).await?;
    ensure!((1..6).contains(&counts(&made)[0]), "of six devices some are in the half, with these names");
    let approve = format!("/v1/catalogs/one/deployments/{}/approve", made["number"]);
    operator.post(&approve, json!({"open": 2})).await?.refused(409)?;
    let pushed = operator.post(&approve, json!({"open": 1})).await?.json(200)?;
    assert_eq!((&pushed["state"], &pushed["open"]), (&json!("running"), &json!(2)));
    assert_eq!(counts(&pushed)[0], devices.len() as u64);
    operator.post(&approve, json!({"open": 1})).await?.refused(409)?;
    operator.post(&approve, json!({"open": 2})).await?.refused(409).context("there is no third wave")?;
    let log = operator.get("/v1/catalogs/one/audit?limit=1000").await?.json(200)?.to_string();
    ensure!(log.contains("deployment.approve") && !log.contains("deployment.wave"), "{log}");
    Ok(())
}

pub(crate) async fn app_that_is_to_go_is_waited_for_until_it_is_gone(site: &Site) -> Result<()> {
    let (operator, devices, _) = begin(site, 1).await?;
    let device = &devices[0].1;
    let waves = json!([{"percent": 100, "success_percent": 100}]);
    let remove = json!({"waves": waves.clone(), "remove": ["org.example.pump"]});
    let made = deploy(&operator, &[], remove).await?;
    asks(device, "1.0", json!([])).await?;
    let state = shown(&operator, &made).await?;
    assert_eq!(
        (counts(&state), &state["state"]),
        ([1, 1, 0, 0, 0], &json!("running")),
        "it has the app still"
    );
    let mut gone = check("1.0", json!([]));
    gone["apps"] = json!([]);
    device.post("/device/v1/updates", gone).await?.json(200)?;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([1, 1, 1, 0, 0], &json!("finished")));
    // The next takes it over, and waits for nothing but its own: the app may be back with the image, which nobody can remove it from.
    let next = deploy(&operator, &OS[1..2], json!({"waves": waves})).await?;
    assert_eq!(next["remove"], json!(["org.example.pump"]));
    asks(device, "1.1", json!([outcome(OS[1], "complete", "")])).await?;
    let state = shown(&operator, &next).await?;
    assert_eq!((counts(&state), &state["state"]), ([1, 1, 1, 0, 0], &json!("finished")));
    Ok(())
}

pub(crate) async fn removal_of_an_older_service_is_waited_for(site: &Site) -> Result<()> {
    let (operator, devices, _) = begin(site, 1).await?;
    let device = &devices[0].1;
    let made = deploy(&operator, &[], json!({"remove": ["org.example.pump"]})).await?;
    // It did not say which of these are its own.
    write(
        site,
        "UPDATE deployment SET content = '{\"releases\":[],\"remove\":[\"org.example.pump\"],
            \"waves\":[{\"percent\":100}],\"windows\":[],\"notes\":\"\"}'",
    )
    .await?;
    asks(device, "1.0", json!([])).await?;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([1, 1, 0, 0, 0], &json!("running")));
    let mut gone = check("1.0", json!([]));
    gone["apps"] = json!([]);
    device.post("/device/v1/updates", gone).await?.json(200)?;
    assert_eq!(shown(&operator, &made).await?["state"], "finished");
    Ok(())
}

pub(crate) async fn deployments_are_counted_anew_though_the_database_fails_at_first(
    site: &Site,
) -> Result<()> {
    let (operator, devices, _) = begin(site, 1).await?;
    let made = deploy(&operator, &OS[..1], json!({})).await?;
    asks(&devices[0].1, "0.9", json!([])).await?;
    write(site, "UPDATE deployment SET told = 7").await?;
    write(site, "ALTER TABLE deployment_device RENAME TO elsewhere").await?;
    let next = Site::serve(&site.database, site.file.clone(), BEGIN, generous()).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    write(site, "ALTER TABLE elsewhere RENAME TO deployment_device").await?;
    let until = Instant::now() + Duration::from_secs(120);
    while counts(&shown(&operator, &made).await?) != [1, 1, 0, 0, 0] {
        ensure!(Instant::now() < until, "it is not counted anew");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    next.running.stop().await;
    Ok(())
}

/// Does this to the database, as an older service or somebody else would.
async fn write(site: &Site, statement: &'static str) -> Result<()> {
    let store = Store::open(&site.database).await?;
    let done = store.write(move |connection| {
        Box::pin(async move {
            sqlx::query(statement).execute(connection).await?;
            Ok::<_, Refusal>(())
        })
    });
    done.await.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    store.close().await;
    Ok(())
}

pub(crate) async fn deployment_of_an_older_service_is_counted_anew(site: &Site) -> Result<()> {
    let (operator, devices, _) = begin(site, 3).await?;
    let waves = json!([{"percent": 100, "success_percent": 100}]);
    let made = deploy(&operator, &OS[..1], json!({"waves": waves})).await?;
    asks(&devices[0].1, "1.0", json!([outcome(OS[0], "complete", "")])).await?;
    asks(&devices[1].1, "1.0", json!([outcome(OS[0], "complete", "")])).await?;
    let store = Store::open(&site.database).await?;
    // The third was revoked, and it was counted on.
    let done = store.write(|connection| {
        Box::pin(async move {
            sqlx::query("UPDATE device SET state = 'revoked' WHERE asked IS NULL")
                .execute(&mut *connection)
                .await?;
            sqlx::query("UPDATE deployment SET told = 3").execute(&mut *connection).await?;
            recount_all(connection, 0).await
        })
    });
    done.await.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    store.close().await;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([2, 2, 2, 0, 0], &json!("finished")));
    Ok(())
}

/// So many deployments of group `field` that have ended.
const ENDED: &str = "INSERT INTO deployment (catalog, product, device_group, content, state, reason, created, opened, changed,
        chosen, told, complete, failed, rolled_back)
    WITH RECURSIVE row (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM row WHERE i < 10000)
    SELECT 'one', 'pump', 'field', '{\"releases\":[\"os/pump/1.0.json\"],\"remove\":[],\"waves\":[{\"percent\":100}],
        \"windows\":[],\"notes\":\"\"}', 'replaced', '', 0, '1', 1, 0, 0, 0, 0, 0 FROM row";

pub(crate) async fn oldest_deployment_makes_room_unless_devices_are_answered_by_it(
    site: &Site,
) -> Result<()> {
    let (operator, devices, _) = begin(site, 1).await?;
    write(site, ENDED).await?;
    let made = deploy(&operator, &OS[1..2], json!({})).await?;
    assert_eq!(made["number"], 10_001);
    operator.get("/v1/catalogs/one/deployments/1").await?.refused(404)?;
    operator.get("/v1/catalogs/one/deployments/2").await?.json(200)?;
    assert_eq!(asks(&devices[0].1, "0.9", json!([])).await?["releases"], json!([OS[1]]));
    let log = operator.get("/v1/catalogs/one/audit?limit=1000").await?.json(200)?.to_string();
    ensure!(log.contains("deployment.forget"), "{log}");

    write(site, "UPDATE deployment SET state = 'running' WHERE number < 9990").await?;
    let new = json!({"product": "pump", "group": "field", "releases": [OS[1]]});
    let said = operator.post("/v1/catalogs/one/deployments", new).await?.refused(409)?;
    ensure!(said.contains("remove groups that have no devices"), "{said}");
    Ok(())
}
