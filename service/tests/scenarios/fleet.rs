//! Catalogs, groups, the audit log.

use crate::support::Site;
use crate::support::actors::{Device, catalog, operator};
use anyhow::Result;
use serde_json::json;

pub(crate) async fn change_is_in_the_audit_log_with_before_and_after(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    catalog(&operator, "two").await?;
    let policy = json!({"releases": ["r1"], "secure_boot": true, "debug": true});
    let path = "/v1/catalogs/one/products/pump/groups/field";
    operator.send("PUT", &format!("{path}/policy"), Some(&policy)).await?.json(204)?;
    assert_eq!(operator.get(path).await?.json(200)?["policy"], policy);
    let log = operator.get("/v1/catalogs/one/audit").await?.json(200)?;
    let actions: Vec<_> =
        log["items"].as_array().into_iter().flatten().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["catalog.add", "product.add", "group.add", "group.policy"]);
    let change = &log["items"][3];
    assert_eq!(change["before"]["debug"], false);
    assert_eq!(change["after"], policy);
    assert_eq!(change["who"], "operator");
    let page = operator.get("/v1/catalogs/one/audit?limit=1").await?.json(200)?;
    assert_eq!((&page["more"], &page["items"][0]["action"]), (&json!(true), &json!("catalog.add")));
    let after = format!("/v1/catalogs/one/audit?after={}", page["items"][0]["number"]);
    assert_eq!(operator.get(&after).await?.json(200)?["items"][0]["action"], "product.add");
    Ok(())
}

pub(crate) async fn group_with_devices_stays(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let group = "/v1/catalogs/one/products/pump/groups/field";
    operator.send("DELETE", group, None).await?.refused(409)?;
    operator.send("DELETE", "/v1/catalogs/one/products/pump", None).await?.refused(409)?;
    let claim = format!("/v1/catalogs/one/devices/{}/claim", device.id);
    operator.send("DELETE", &claim, None).await?.json(204)?;
    operator.send("DELETE", group, None).await?.json(204)?;
    operator.send("DELETE", "/v1/catalogs/one/products/pump", None).await?.json(204)?;
    operator.post("/v1/catalogs", json!({"name": "one"})).await?.refused(409)?;
    Ok(())
}
