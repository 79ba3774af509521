//! Recovery keys that devices hand over.

use crate::support::Site;
use crate::support::actors::{Device, catalog, member, operator, text};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use service::store::Store;

const PATH: &str = "/device/v1/recovery-key";

fn key(letter: &str) -> String {
    [letter.repeat(8).as_str(); 8].join("-")
}

pub(crate) async fn recovery_key_is_asked_for_until_an_administrator_has_one(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let asked =
        async || anyhow::Ok(device.attest(&site.client()?, b"good").await?.json(200)?["escrow"].clone());
    ensure!(asked().await?.is_null(), "the policy does not ask");
    let certified = device.certified(site).await?;
    let escrow = |letter: &str| json!({"recovery_key": key(letter)});
    certified.send("PUT", PATH, Some(&escrow("c"))).await?.refused(409)?;
    let policy = "/v1/catalogs/one/products/pump/groups/field/policy";
    operator.send("PUT", policy, Some(&json!({"escrow": true}))).await?.json(204)?;
    assert_eq!(asked().await?, true);
    for wrong in [json!({}), json!({"recovery_key": "c"}), json!({"recovery_key": key("a")})] {
        certified.send("PUT", PATH, Some(&wrong)).await?.refused(400)?;
    }
    site.client()?.send("PUT", PATH, Some(&escrow("c"))).await?.refused(401)?;
    assert_eq!(asked().await?, true);
    certified.send("PUT", PATH, Some(&escrow("c"))).await?.json(204)?;
    ensure!(asked().await?.is_null(), "there is one");

    let at = format!("/v1/catalogs/one/devices/{}/recovery-key", device.id);
    let contributor = member(site, &operator, "one", "carla", "contributor").await?;
    contributor.send("POST", &at, None).await?.refused(403)?;
    ensure!(asked().await?.is_null(), "who was refused has not read it");
    let read = operator.send("POST", &at, None).await?.json(200)?;
    assert_eq!(read["recovery_key"], key("c").as_str());
    let log = operator.get("/v1/catalogs/one/audit?limit=1000").await?.json(200)?;
    let log = log["items"].as_array().context("a log")?;
    let by = |action: &str| -> Vec<_> {
        log.iter().filter(|entry| entry["action"] == action).map(|entry| entry["who"].clone()).collect()
    };
    assert_eq!(by("device.escrow"), [json!(format!("device.{}", device.id))]);
    assert_eq!(by("device.recovery-key"), [json!("operator")]);
    ensure!(!log.iter().any(|entry| entry.to_string().contains(&key("c"))), "the log has no key");
    // What was read is to be used up.
    assert_eq!(asked().await?, true);
    certified.send("PUT", PATH, Some(&escrow("d"))).await?.json(204)?;
    let read = operator.send("POST", &at, None).await?.json(200)?;
    assert_eq!(read["recovery_key"], key("d").as_str());
    Ok(())
}

pub(crate) async fn recovery_key_is_sealed_and_the_present_owner_s(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    for name in ["one", "two"] {
        catalog(&operator, name).await?;
        let policy = format!("/v1/catalogs/{name}/products/pump/groups/field/policy");
        operator.send("PUT", &policy, Some(&json!({"escrow": true}))).await?.json(204)?;
    }
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let certified = device.certified(site).await?;
    let escrow = json!({"recovery_key": key("v")});
    certified.send("PUT", PATH, Some(&escrow)).await?.json(204)?;
    let store = Store::open(&site.database).await?;
    let mut backup = Vec::new();
    store.dump(&mut backup).await?;
    store.close().await;
    let backup = String::from_utf8(backup)?;
    ensure!(backup.contains("\"recovery_key\""), "the backup has it");
    ensure!(!backup.contains("vvvv") && !backup.contains(&"76".repeat(8)), "the backup has it sealed");

    let at = |catalog: &str| format!("/v1/catalogs/{catalog}/devices/{}", device.id);
    let offer = operator.send("POST", &format!("{}/transfer", at("one")), None).await?.json(201)?;
    device.claim(&operator, "two", &text(&offer["token"])?).await?.json(201)?;
    operator.send("POST", &format!("{}/recovery-key", at("one")), None).await?.refused(404)?;
    operator.send("POST", &format!("{}/recovery-key", at("two")), None).await?.refused(404)?;
    certified.send("PUT", PATH, Some(&escrow)).await?.refused(401)?;
    let certified = device.certified(site).await?;
    certified.send("PUT", PATH, Some(&escrow)).await?.json(204)?;
    operator.send("DELETE", &format!("{}/claim", at("two")), None).await?.json(204)?;
    Ok(())
}
