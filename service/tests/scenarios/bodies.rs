//! Wrong bodies, the document, backups.

use crate::support::actors::{Device, catalog, operator};
use crate::support::{Site, sqlite};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use service::store::Store;
use std::collections::BTreeSet;

pub(crate) async fn body_that_is_wrong_is_a_problem_with_reasons(site: &Site) -> Result<()> {
    let client = site.client()?;
    let nonces = "/device/v1/nonces";
    let device = "a".repeat(64);
    for body in
        [json!({}), json!({"device": "A"}), json!({"device": device, "more": 1}), json!([]), json!("x")]
    {
        client.post(nonces, body).await?.refused(400)?;
    }
    client.raw("POST", nonces, "application/json", Some(b"{\"device\":")).await?.refused(400)?;
    client.raw("POST", nonces, "text/plain", Some(b"{}")).await?.refused(415)?;
    client.raw("POST", nonces, "application/json", Some(&[b' '; 20_000])).await?.refused(413)?;
    client
        .raw("POST", nonces, "application/json", None)
        .await?
        .refused(415)
        .or_else(|_| anyhow::Ok(String::new()))?;
    client.get(nonces).await?.refused(405)?;
    client.get("/device/v1/nothing").await?.refused(404)?;
    client.get("/v1/catalogs/NO").await?.refused(404)?;
    let deep = [b"{\"device\":".repeat(500), b"1".to_vec()].concat();
    client.raw("POST", nonces, "application/json", Some(&deep)).await?.refused(400)?;
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let policy = "/v1/catalogs/one/products/pump/groups/field/policy";
    for wrong in ["", "v1", "1.", "1.x", "1.99999999999"] {
        operator.send("PUT", policy, Some(&json!({"version_min": wrong}))).await?.refused(400)?;
    }
    operator
        .send("PUT", policy, Some(&json!({"version_min": "1.10", "known_packages": true})))
        .await?
        .json(204)?;
    for query in ["limit=0", "limit=1001", "limit=-1", "more=1", "after=x", "passed=maybe"] {
        operator.get(&format!("/v1/catalogs/one/devices?{query}")).await?.refused(400).context(query)?;
    }
    Ok(())
}

pub(crate) async fn connection_ends_in_order_whatever_was_said_on_it(site: &Site) -> Result<()> {
    let client = site.client()?;
    for request in
        [&b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"[..], b"nonsense\r\n\r\n", b"\0"]
    {
        // Without TLS's own end the client's library says that it was cut off.
        let (_, ended) = client.exchange(request).await?;
        ended.with_context(|| format!("{request:?}"))?;
    }
    Ok(())
}

pub(crate) async fn refused_before_its_body_came_is_answered_and_the_connection_goes_on(
    site: &Site,
) -> Result<()> {
    let client = site.client()?;
    let head = "POST /device/v1/nonces HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 900000\r\n\r\n";
    let next = "GET /device/v1/nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = client.late(head, &vec![b' '; 900_000], next).await?;
    let seen = ["HTTP/1.1 415 ", "HTTP/1.1 404 "].map(|status| answers.matches(status).count());
    ensure!(seen == [1, 1], "{answers}");
    Ok(())
}

pub(crate) async fn document_describes_every_path(site: &Site) -> Result<()> {
    let document = site.client()?.get("/openapi.json").await?.json(200)?;
    let paths = document["paths"].as_object().context("paths")?;
    let operations: usize = paths.values().filter_map(Value::as_object).map(serde_json::Map::len).sum();
    assert_eq!(operations, 85, "an operation that was added or removed: count again");
    let mut missing = BTreeSet::new();
    references(&document, &mut |reference| {
        let pointer = reference.trim_start_matches('#');
        if document.pointer(pointer).is_none() {
            missing.insert(reference.to_owned());
        }
    });
    ensure!(missing.is_empty(), "described nowhere: {missing:?}");
    // Each path is one that is served: it answers by its own refusal, not that there is no such path.
    for (path, operations) in paths {
        let path = path
            .replace("{catalog}", "one")
            .replace("{device}", &"a".repeat(64))
            .replace("{sha256}", &"a".repeat(64))
            .replace("{number}", "1")
            .replace("{enrolment}", &"a".repeat(43));
        let path = path.replace(['{', '}'], "");
        for method in operations.as_object().into_iter().flat_map(serde_json::Map::keys) {
            let answer = site.client()?.send(&method.to_uppercase(), &path, None).await?;
            let says = String::from_utf8_lossy(&answer.body).into_owned();
            ensure!(answer.status != 405 && !says.contains("no such path"), "{method} {path}: {says}");
        }
    }
    Ok(())
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(reference) if key == "$ref" => found(reference),
                    value => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => (),
    }
}

pub(crate) async fn backup_restored_is_the_same_state(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let certified = device.certified(site).await?;
    let reports = json!({"batch": 7, "reports": [crate::support::actors::report("SIGSEGV", 1)]});
    certified.post("/device/v1/reports", reports).await?.json(200)?;

    let store = Store::open(&site.database).await?;
    let mut backup = Vec::new();
    let rows = store.dump(&mut backup).await?;
    store.close().await;
    let folder = tempfile::tempdir()?;
    let database = sqlite(folder.path());
    let (copy, _) = Store::migrate(&database).await?;
    // Cut off, altered, or twice: nothing happens.
    ensure!(copy.restore(&backup[..backup.len() - 2]).await.is_err(), "cut off");
    let text = String::from_utf8(backup.clone())?;
    ensure!(copy.restore(text.replace("pump", "pomp").as_bytes()).await.is_err(), "altered");
    assert_eq!(copy.restore(&backup[..]).await?, rows);
    ensure!(copy.restore(&backup[..]).await.is_err(), "twice");
    let mut again = Vec::new();
    copy.dump(&mut again).await?;
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        lines.pop();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&again), sorted(&backup));
    copy.close().await;

    let second =
        Site::serve(&database, site.file.clone(), crate::support::BEGIN, crate::support::generous()).await?;
    let moved = device.attest(&second.client()?, b"good").await?.json(200)?;
    assert_eq!(moved["certificates"].as_array().map(Vec::len), Some(2));
    second.running.stop().await;
    Ok(())
}
