//! Releases published, deployed, asked for.

use crate::support::actors::{Device, b64, catalog, member, operator, text};
use crate::support::client::Client;
use crate::support::releases::Releaser;
use crate::support::{BEGIN, Site, generous};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use service::secrets;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const OS: [&str; 3] = ["os/pump/1.0.json", "os/pump/1.1.json", "os/pump/1.2.json"];
pub(crate) const APP: &str = "apps/one/org.example.pump/2.0.json";

/// What a device says of itself.
pub(crate) fn check(os: &str, outcomes: Value) -> Value {
    json!({"os": os, "root_hash": "0a".repeat(32), "apps": [{"app": "org.example.pump", "version": "1.0"}],
        "outcomes": outcomes})
}

pub(crate) fn outcome(release: &str, stage: &str, reason: &str) -> Value {
    json!({"release": release, "stage": stage, "reason": reason, "at_s": 0, "fetched": 7})
}

pub(crate) async fn asks(device: &Client, os: &str, outcomes: Value) -> Result<Value> {
    device.post("/device/v1/updates", check(os, outcomes)).await?.json(200)
}

pub(crate) async fn deploy(client: &Client, releases: &[&str], more: Value) -> Result<Value> {
    let mut new = json!({"product": "pump", "group": "field", "releases": releases});
    for (key, value) in more.as_object().into_iter().flatten() {
        new[key] = value.clone();
    }
    client.post("/v1/catalogs/one/deployments", new).await?.json(201)
}

pub(crate) async fn repository_is_served_as_it_was_signed_and_refuses_what_devices_would(
    site: &Site,
) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    catalog(&operator, "two").await?;
    let client = site.client()?;
    client.get("/updates/v1/metadata/timestamp.json").await?.refused(404)?;
    let releaser = Releaser::begin(&operator).await?;
    releaser.release(&operator, OS[0]).await?;

    let timestamp = client.get("/updates/v1/metadata/timestamp.json").await?;
    ensure!(timestamp.head.contains("no-cache"), "{}", timestamp.head);
    let tag = timestamp.head.lines().find_map(|line| line.strip_prefix("etag: ")).context("a tag")?;
    let known = client.with_header("If-None-Match", tag).get("/updates/v1/metadata/timestamp.json").await?;
    ensure!(known.status == 304 && known.body.is_empty(), "{}", known.head);
    let os = client.get("/updates/v1/metadata/2.os.json").await?;
    ensure!(os.status == 200 && os.head.contains("immutable"), "{}", os.head);
    let document = releaser.document(&operator, OS[0]).await?;
    let path = format!("/updates/v1/targets/os/pump/{}.1.0.json", secrets::sha256(&document));
    assert_eq!(client.get(&path).await?.body, document);
    let blob = secrets::sha256(format!("an index of {}", OS[0]).as_bytes());
    let part =
        client.with_header("Range", "bytes=3-7").get(&format!("/updates/v1/targets/blobs/{blob}")).await?;
    ensure!(part.status == 206 && part.body == b"index" && part.head.contains("immutable"), "{}", part.head);
    // What nobody published is not there, though the catalog has it.
    let bytes = b"a secret of the catalog";
    let secret = secrets::sha256(bytes);
    operator
        .raw("PUT", &format!("/v1/catalogs/one/artefacts/{secret}"), "x/y", Some(bytes))
        .await?
        .json(201)?;
    client.get(&format!("/updates/v1/targets/blobs/{secret}")).await?.refused(404)?;
    for path in ["blobs/..", "os/pump/1.0.json", "../metadata/1.root.json", "blobs/", "x"] {
        client.get(&format!("/updates/v1/targets/{path}")).await?.refused(404).context(path)?;
    }

    // Sent again it is no newer.
    let again = json!({"roles": [{"role": "os", "content": b64(&os.body)}]});
    operator.post("/v1/catalogs/one/updates", again).await?.refused(409)?;
    // Signed by other keys than the role's, or by none.
    let document = releaser.document(&operator, OS[1]).await?;
    let documents = json!([{"target": OS[1], "content": b64(&document)}]);
    releaser.add(OS[1], &document)?;
    let mut forged = releaser.staged("os")?;
    let envelope = |forged: &Value| crate::support::actors::unb64(&forged["content"]);
    let mut unsigned: Value = serde_json::from_slice(&envelope(&forged)?)?;
    unsigned["signatures"] = json!([]);
    forged["content"] = json!(b64(unsigned.to_string().as_bytes()));
    let body = json!({"roles": [forged], "documents": documents});
    operator.post("/v1/catalogs/one/updates", body).await?.refused(403)?;
    // Without the document; with another one.
    releaser.publish(&operator, &["os"], json!([])).await?.refused(400)?;
    let other = json!([{"target": OS[1], "content": b64(&[document.as_slice(), b" "].concat())}]);
    releaser.publish(&operator, &["os"], other).await?.refused(400)?;
    // By a catalog that has not what it names, or for apps of another.
    let body = json!({"roles": [releaser.staged("os")?], "documents": documents});
    let said = operator.post("/v1/catalogs/two/updates", body).await?.refused(409)?;
    ensure!(said.contains("which the catalog has not"), "{said}");
    let app = releaser.document(&operator, APP).await?;
    releaser.add(APP, &app)?;
    let body = json!({"roles": [releaser.staged("apps-one")?], "documents": [{"target": APP, "content": b64(&app)}]});
    operator.post("/v1/catalogs/two/updates", body).await?.refused(403)?;
    let administrator = member(site, &operator, "one", "ada", "administrator").await?;
    administrator.send("GET", "/v1/updates/keys", None).await?.refused(403)?;
    client.get("/updates/v1/metadata/3.os.json").await?.refused(404)?;
    // Whoever has the role's keys needs no operator.
    releaser.publish(&administrator, &["os"], documents).await?.json(201)?;
    let listed = administrator.get("/v1/catalogs/one/updates").await?.json(200)?;
    let targets: Vec<_> = listed.as_array().into_iter().flatten().map(|release| &release["target"]).collect();
    assert_eq!(targets.len(), 2, "{listed}");
    let log = operator.get("/v1/catalogs/one/audit?limit=1000").await?.json(200)?.to_string();
    assert_eq!(log.matches("updates.publish").count(), 3, "{log}");
    Ok(())
}

pub(crate) async fn device_is_told_of_its_groups_deployment_and_its_progress_is_shown(
    site: &Site,
) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let device_client = device.certified(site).await?;
    let nothing = asks(&device_client, "0.9", json!([])).await?;
    assert_eq!(nothing["releases"], json!([]));
    let releaser = Releaser::begin(&operator).await?;
    for target in [OS[0], OS[1], APP] {
        releaser.release(&operator, target).await?;
    }
    let first = deploy(&operator, &[OS[0]], json!({"windows": [{"from": 60, "minutes": 120}]})).await?;
    let told = asks(&device_client, "0.9", json!([])).await?;
    assert_eq!((&told["releases"], &told["repository"]), (&json!([OS[0]]), &json!("updates/v1")));
    ensure!(
        told["windows"][0]["from"] == 60 && told["generation"].as_u64() > nothing["generation"].as_u64(),
        "{told}"
    );
    assert_eq!(asks(&device_client, "0.9", json!([])).await?, told, "nothing changed");

    let why = json!([outcome(OS[0], "failed", "the body of root.img could not be fetched: timed out")]);
    asks(&device_client, "0.9", why).await?;
    let path = format!("/v1/catalogs/one/deployments/{}", first["number"]);
    let shown = operator.get(&path).await?.json(200)?;
    assert_eq!((&shown["state"], &shown["devices"]["failed"]), (&json!("running"), &json!(1)));
    let devices = operator.get(&format!("{path}/devices?stage=failed")).await?.json(200)?;
    ensure!(devices["items"][0]["reason"].to_string().contains("timed out"), "{devices}");

    // Another deployment takes the system over.
    let second = deploy(&operator, &[APP], json!({})).await?;
    assert_eq!(second["releases"], json!([APP, OS[0]]));
    assert_eq!(operator.get(&path).await?.json(200)?["state"], "replaced");
    let told = asks(&device_client, "1.0", json!([outcome(OS[0], "trial", "")])).await?;
    assert_eq!(told["releases"], json!([APP, OS[0]]));
    let mut all = check("1.0", json!([outcome(OS[0], "complete", ""), outcome(APP, "complete", "")]));
    all["apps"] = json!([{"app": "org.example.pump", "version": "2.0"}]);
    device_client.post("/device/v1/updates", all).await?.json(200)?;
    let shown =
        operator.get(&format!("/v1/catalogs/one/deployments/{}", second["number"])).await?.json(200)?;
    assert_eq!((&shown["state"], &shown["devices"]["complete"]), (&json!("finished"), &json!(1)));
    let shown = operator.get(&format!("/v1/catalogs/one/devices/{}/updates", device.id)).await?.json(200)?;
    assert_eq!((&shown["os"], &shown["progress"][0]["stage"]), (&json!("1.0"), &json!("complete")));

    for (releases, status) in [
        (json!([]), 201),
        (json!(["os/pump/9.json"]), 409),
        (json!([OS[0], OS[1]]), 400),
        (json!(["os/other/1.json"]), 409),
    ] {
        let new = json!({"product": "pump", "group": "field", "releases": releases});
        let answer = operator.post("/v1/catalogs/one/deployments", new).await?;
        ensure!(answer.status == status, "{releases}: {}", String::from_utf8_lossy(&answer.body));
    }
    let alone = json!({"product": "pump", "group": "field", "releases": [], "alone": true});
    operator.post("/v1/catalogs/one/deployments", alone).await?.refused(400)?;
    Ok(())
}

pub(crate) async fn device_that_waits_hears_of_a_deployment_and_of_whoever_wants_it_to_ask(
    site: &Site,
) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let client = device.certified(site).await?;
    let releaser = Releaser::begin(&operator).await?;
    releaser.release(&operator, OS[0]).await?;
    let generation = asks(&client, "0.9", json!([])).await?["generation"].clone();
    let path = |generation: &Value| format!("/device/v1/updates/wait?generation={generation}");
    let waiting = |generation: &Value| {
        let (client, path) = (client.clone(), path(generation));
        tokio::spawn(async move { client.get(&path).await })
    };
    let nothing = client.get(&format!("{}&at_most_s=0", path(&generation))).await?;
    assert_eq!(nothing.status, 204, "{}", nothing.head);
    site.client()?.get(&path(&generation)).await?.refused(401)?;

    let waits = waiting(&generation);
    deploy(&operator, &[OS[0]], json!({})).await?;
    let changed = waits.await??.json(200)?;
    let told = asks(&client, "0.9", json!([])).await?;
    assert_eq!(changed["generation"], told["generation"]);

    let waits = waiting(&told["generation"]);
    let stir = format!("/v1/catalogs/one/devices/{}/update-check", device.id);
    operator.send("POST", &stir, None).await?.json(204)?;
    assert_ne!(waits.await??.json(200)?["generation"], told["generation"]);

    // A developer's permit, its end, and being given up are reasons to ask, too.
    let told = asks(&client, "0.9", json!([])).await?;
    assert_eq!(told["permit"], "");
    let waits = waiting(&told["generation"]);
    let permits = format!("/v1/catalogs/one/devices/{}/permits", device.id);
    let issued =
        operator.post(&permits, super::permits::asked(&super::permits::certificate()?)).await?.json(201)?;
    waits.await??.json(200)?;
    let told = asks(&client, "0.9", json!([])).await?;
    assert_eq!(told["permit"], issued["id"]);
    let waits = waiting(&told["generation"]);
    let revocation = format!("/v1/catalogs/one/devices/{}/revocation", device.id);
    operator.send("PUT", &revocation, None).await?.json(204)?;
    // Whether it has begun to wait before that or not, it hears at once.
    let heard = waits.await??;
    ensure!([200, 401].contains(&heard.status), "{}", heard.head);
    client.get(&path(&told["generation"])).await?.refused(401)?;
    Ok(())
}

pub(crate) async fn order_is_told_to_the_device_until_it_answers_and_to_nobody_else(
    site: &Site,
) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let (device, other) = (
        Device::claimed(site, "a", &operator, "one").await?,
        Device::claimed(site, "b", &operator, "one").await?,
    );
    let (client, other) = (device.certified(site).await?, other.certified(site).await?);
    let path = format!("/v1/catalogs/one/devices/{}/update-order", device.id);
    let give = async |order: Value| operator.send("PUT", &path, Some(&order)).await;
    let says = async |order: Value| {
        let mut all = check("1.0", json!([]));
        all["order"] = order;
        client.post("/device/v1/updates", all).await?.json(200)
    };
    let shown = async || -> Result<Value> {
        let all =
            operator.get(&format!("/v1/catalogs/one/devices/{}/updates", device.id)).await?.json(200)?;
        Ok(all["order"].clone())
    };
    assert_eq!(shown().await?, Value::Null);
    for (order, reason) in [
        (json!({"act": "dance"}), 400),
        (json!({"act": "defer"}), 400),
        (json!({"act": "defer", "minutes": 10_021}), 400),
        (json!({"act": "rollback", "minutes": 1}), 400),
    ] {
        give(order).await?.refused(reason)?;
    }
    operator.send("DELETE", &path, None).await?.refused(404)?;

    // A device that waits hears of it.
    let told = asks(&client, "1.0", json!([])).await?;
    assert_eq!(told["order"], Value::Null);
    let waits = {
        let (client, path) =
            (client.clone(), format!("/device/v1/updates/wait?generation={}", told["generation"]));
        tokio::spawn(async move { client.get(&path).await })
    };
    let given = give(json!({"act": "defer", "app": "org.example.pump", "minutes": 90})).await?.json(200)?;
    waits.await??.json(200)?;
    let order = json!({"number": given["number"], "act": "defer", "app": "org.example.pump", "minutes": 90});
    for _ in 0..2 {
        assert_eq!(asks(&client, "1.0", json!([])).await?["order"], order);
    }
    assert_eq!(asks(&other, "1.0", json!([])).await?["order"], Value::Null);
    assert_eq!((shown().await?["how"].clone(), shown().await?["given"].is_u64()), (Value::Null, true));

    // What it says of another one counts for nothing. What it has begun it is told once more; of this one the last word counts.
    let of =
        |number: &Value, how: &str, reason: &str| json!({"number": number, "how": how, "reason": reason});
    assert_eq!(says(of(&json!(u64::MAX), "begun", "")).await?["order"], order);
    for _ in 0..2 {
        assert_eq!(says(of(&given["number"], "begun", "")).await?["order"], order);
    }
    assert_eq!(asks(&client, "1.0", json!([])).await?["order"], Value::Null);
    assert_eq!(shown().await?["how"], "begun");
    operator.send("DELETE", &path, None).await?.refused(404)?;
    assert_eq!(says(of(&given["number"], "done", "")).await?["order"], Value::Null);
    says(of(&given["number"], "refused", "no update is pending")).await?;
    assert_eq!(says(of(&given["number"], "begun", "")).await?["order"], Value::Null);
    let now = shown().await?;
    ensure!(
        now["heard"].is_u64() && now["how"] == "refused" && now["reason"] == "no update is pending",
        "{now}"
    );
    operator.send("DELETE", &path, None).await?.refused(404)?;

    // One that is taken back, one that nobody heard of for a day, and one of a device that was given up.
    let given = give(json!({"act": "rollback"})).await?.json(200)?;
    assert_eq!(asks(&client, "1.0", json!([])).await?["order"]["number"], given["number"]);
    operator.send("DELETE", &path, None).await?.json(204)?;
    assert_eq!(says(of(&given["number"], "begun", "")).await?["order"], Value::Null);
    give(json!({"act": "resume"})).await?.json(200)?;
    let last = give(json!({"act": "rollback"})).await?.json(200)?;
    assert_eq!(asks(&client, "1.0", json!([])).await?["order"]["act"], "rollback");
    site.wait(86_400);
    let client = device.certified(site).await?;
    assert_eq!(asks(&client, "1.0", json!([])).await?["order"], Value::Null);
    let late = json!({"os": "1.0", "root_hash": "0a".repeat(32), "apps": [], "order": of(&last["number"], "begun", "")});
    assert_eq!(client.post("/device/v1/updates", late).await?.json(200)?["order"], Value::Null);
    Ok(())
}

pub(crate) async fn deployment_goes_in_waves_stops_by_itself_and_takes_nothing_from_who_runs_it(
    site: &Site,
) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let releaser = Releaser::begin(&operator).await?;
    for target in OS {
        releaser.release(&operator, target).await?;
    }
    let mut devices = Vec::new();
    for number in 0..10 {
        let device = Device::claimed(site, &format!("device {number}"), &operator, "one").await?;
        devices.push(device.certified(site).await?);
    }
    let waves = json!([
        {"percent": 50, "success_percent": 100, "error_percent": 30, "approval": true},
        {"percent": 100, "success_percent": 90, "error_percent": 30},
    ]);
    let made = deploy(&operator, &[OS[0]], json!({"waves": waves})).await?;
    let path = format!("/v1/catalogs/one/deployments/{}", made["number"]);
    let show = async || operator.get(&path).await?.json(200);
    let chosen = made["devices"]["chosen"].as_u64().context("a number")?;
    let mut first = Vec::new();
    for (at, device) in devices.iter().enumerate() {
        if asks(device, "0.9", json!([])).await?["releases"] == json!([OS[0]]) {
            first.push(at);
        }
    }
    assert_eq!(first.len() as u64, chosen);
    ensure!((1..10).contains(&chosen), "of ten devices {chosen} are in the half, with these names");
    // Paused, nobody new is told; who was told stays.
    operator.post(&format!("{path}/pause"), json!({"reason": "lunch"})).await?.json(200)?;
    for (at, device) in devices.iter().enumerate() {
        let told = asks(device, "0.9", json!([])).await?["releases"] == json!([OS[0]]);
        assert_eq!(told, first.contains(&at), "{at}");
    }
    operator.send("POST", &format!("{path}/resume"), None).await?.json(200)?;
    for at in &first {
        asks(&devices[*at], "1.0", json!([outcome(OS[0], "complete", "")])).await?;
    }
    assert_eq!(show().await?["state"], "waiting");
    operator.post(&format!("{path}/approve"), json!({"open": 2})).await?.refused(409)?;
    let approved = operator.post(&format!("{path}/approve"), json!({"open": 1})).await?.json(200)?;
    assert_eq!((&approved["state"], &approved["devices"]["chosen"]), (&json!("running"), &json!(10)));
    operator.post(&format!("{path}/approve"), json!({"open": 1})).await?.refused(409)?;
    let rest: Vec<_> = (0..10).filter(|at| !first.contains(at)).collect();
    for at in &rest {
        assert_eq!(asks(&devices[*at], "0.9", json!([])).await?["releases"], json!([OS[0]]));
        asks(&devices[*at], "1.0", json!([outcome(OS[0], "complete", "")])).await?;
    }
    assert_eq!(show().await?["state"], "finished");

    // The next one is bad: it stops by itself, who went back is not sent there again, and who runs it stays.
    let waves = json!([{"percent": 100, "success_percent": 100, "error_percent": 10}]);
    let bad = deploy(&operator, &[OS[1]], json!({"waves": waves})).await?;
    for device in &devices {
        asks(device, "1.0", json!([])).await?;
    }
    asks(&devices[0], "1.1", json!([outcome(OS[1], "complete", "")])).await?;
    let before = asks(&devices[1], "1.0", json!([])).await?;
    let after =
        asks(&devices[1], "1.0", json!([outcome(OS[1], "rolled-back", "no network in time")])).await?;
    assert_eq!((&before["releases"], &after["releases"]), (&json!([OS[1]]), &json!([OS[0]])));
    ensure!(after["generation"].as_u64() > before["generation"].as_u64(), "another answer, another number");
    asks(&devices[2], "1.0", json!([outcome(OS[1], "rolled-back", "no network in time")])).await?;
    let path = format!("/v1/catalogs/one/deployments/{}", bad["number"]);
    let shown = operator.get(&path).await?.json(200)?;
    ensure!(
        shown["state"] == "stopped" && text(&shown["reason"])?.contains("2 of 10 devices failed"),
        "{shown}"
    );
    assert_eq!(asks(&devices[0], "1.1", json!([])).await?["releases"], json!([OS[1]]), "it runs it");
    assert_eq!(
        asks(&devices[3], "1.0", json!([])).await?["releases"],
        json!([OS[0]]),
        "it was told, and has not"
    );
    operator.send("POST", &format!("{path}/resume"), None).await?.refused(409)?;
    let log = operator.get("/v1/catalogs/one/audit?limit=1000").await?.json(200)?.to_string();
    for action in [
        "deployment.create",
        "deployment.pause",
        "deployment.approve",
        "deployment.stop",
        "deployment.finish",
    ] {
        ensure!(log.contains(action), "{action} is not in the log");
    }
    // What is taken over comes from one that nobody stopped.
    let fixed = deploy(&operator, &[OS[2]], json!({})).await?;
    assert_eq!(fixed["releases"], json!([OS[2]]));
    Ok(())
}

pub(crate) async fn group_follows_a_feed_until_it_is_pinned(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let products = "/v1/catalogs/one/products/pump";
    operator.post(&format!("{products}/groups"), json!({"name": "trial"})).await?.json(201)?;
    let device = Device::claimed(site, "a", &operator, "one").await?.certified(site).await?;
    let releaser = Releaser::begin(&operator).await?;
    for target in OS.into_iter().chain([APP]) {
        releaser.release(&operator, target).await?;
    }
    let feeds = format!("{products}/feeds");
    operator.post(&feeds, json!({"name": "stable", "waves": [{"percent": 50}]})).await?.refused(400)?;
    operator.post(&feeds, json!({"name": "stable"})).await?.json(201)?;
    operator.post(&feeds, json!({"name": "stable"})).await?.refused(409)?;
    let (entries, follow) = (format!("{feeds}/stable/entries"), format!("{products}/groups/field/feed"));
    let put = async |releases: &[&str]| operator.post(&entries, json!({"releases": releases})).await;
    put(&["os/pump/9.json"]).await?.refused(409)?;
    let first = put(&OS[..1]).await?.json(201)?;
    assert_eq!((&first["number"], &first["deployments"]), (&json!(1), &json!([])), "nobody follows it");
    deploy(&operator, &[APP], json!({})).await?;
    operator.send("PUT", &follow, Some(&json!({"feed": "stable"}))).await?.json(200)?;
    // The feed's releases, and the app that the group had besides.
    assert_eq!(asks(&device, "0.9", json!([])).await?["releases"], json!([OS[0], APP]));
    let second = put(&OS[1..2]).await?.json(201)?;
    assert_eq!(second["deployments"].as_array().map(Vec::len), Some(1));
    let told = asks(&device, "1.0", json!([])).await?;
    assert_eq!(told["releases"], json!([OS[1], APP]));
    let path = format!("/v1/catalogs/one/deployments/{}", second["deployments"][0]);
    assert_eq!(operator.get(&path).await?.json(200)?["feed"], "stable");

    operator.send("PUT", &follow, Some(&json!({"feed": "stable", "pinned": 9}))).await?.refused(404)?;
    operator.send("PUT", &follow, Some(&json!({"feed": "stable", "pinned": 2}))).await?.json(200)?;
    assert_eq!(put(&OS[2..]).await?.json(201)?["deployments"], json!([]));
    assert_eq!(asks(&device, "1.0", json!([])).await?["releases"], json!([OS[1], APP]), "it is pinned");
    let shown = operator.get(&feeds).await?.json(200)?;
    assert_eq!(shown[0]["groups"], json!([{"group": "field", "feed": "stable", "pinned": 2}]));
    operator.send("PUT", &follow, Some(&json!({"feed": "stable"}))).await?.json(200)?;
    assert_eq!(asks(&device, "1.1", json!([])).await?["releases"], json!([OS[2], APP]));
    operator.send("DELETE", &follow, None).await?.json(204)?;
    operator.get(&follow).await?.refused(404)?;
    assert_eq!(
        asks(&device, "1.1", json!([])).await?["releases"],
        json!([OS[2], APP]),
        "what it was told stays"
    );
    Ok(())
}

pub(crate) async fn metrics_say_when_each_role_expires(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    Releaser::begin(&operator).await?;
    // It looks at its start, and then each hour.
    let next = Site::serve(&site.database, site.file.clone(), BEGIN, generous()).await?;
    let inside = next.running.inside.context("where metrics are")?;
    for (role, days) in [("root", 730), ("targets", 400), ("os", 400), ("apps-one", 400), ("timestamp", 14)] {
        let line = format!(
            "gabion_service_updates_role_expires_timestamp_seconds{{role=\"{role}\"}} {}",
            BEGIN + days * 86_400
        );
        let mut text = String::new();
        for _ in 0..100 {
            text = metrics(inside).await?;
            if text.contains(&line) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure!(text.contains(&line), "no {line} in\n{text}");
    }
    next.running.stop().await;
    Ok(())
}

async fn metrics(inside: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(inside).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
