//! What a device said of a release before it was told of a deployment that has it too: it does not say so again.

use super::deployments::{begin, counts, shown};
use super::updates::{APP, OS, asks, check, deploy, outcome};
use crate::support::Site;
use crate::support::client::Client;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

const OTHER: &str = "apps/one/org.example.other/1.0.json";
const WHY: &str = "no network in time";

/// Everybody at once; more than a third of them that fail stop it.
fn waves() -> Value {
    json!([{"percent": 100, "success_percent": 100, "error_percent": 34}])
}

/// What a device says that runs the first system and these apps.
fn runs(apps: &[(&str, &str)], outcomes: Value) -> Value {
    let mut check = check("1.0", outcomes);
    check["apps"] = apps.iter().map(|(app, version)| json!({"app": app, "version": version})).collect();
    check
}

async fn says(device: &Client, check: Value) -> Result<Value> {
    device.post("/device/v1/updates", check).await?.json(200)
}

/// How far the only device, or the first of this stage, is with a deployment, and why.
async fn line(operator: &Client, made: &Value, stage: &str) -> Result<(Value, String)> {
    let path = format!("/v1/catalogs/one/deployments/{}/devices?{stage}", made["number"]);
    let mut all = operator.get(&path).await?.json(200)?;
    let device = all["items"].get_mut(0).context("a device")?.take();
    Ok((device["stage"].clone(), device["reason"].as_str().unwrap_or_default().to_owned()))
}

pub(crate) async fn inherited_release_that_went_back_holds_nothing_up_and_is_shown(
    site: &Site,
) -> Result<()> {
    let (operator, devices, releaser) = begin(site, 2).await?;
    releaser.release(&operator, APP).await?;
    releaser.release(&operator, OTHER).await?;
    let (one, two) = (&devices[0].1, &devices[1].1);
    deploy(&operator, &OS[1..2], json!({})).await?;
    for device in [one, two] {
        asks(device, "1.0", json!([])).await?;
    }
    asks(one, "1.0", json!([outcome(OS[1], "rolled-back", WHY)])).await?;
    asks(two, "1.1", json!([outcome(OS[1], "complete", "")])).await?;

    let made = deploy(&operator, &[APP], json!({"waves": waves()})).await?;
    assert_eq!(asks(one, "1.0", json!([])).await?["releases"], json!([APP, OS[1]]));
    let reason = format!("{} rolled-back before: {WHY}", OS[1]);
    assert_eq!(line(&operator, &made, "").await?, (Value::Null, reason.clone()));
    let new = |os: &str, app: &str| {
        let mut new = runs(&[("org.example.pump", "2.0")], json!([outcome(app, "complete", "")]));
        new["os"] = json!(os);
        new
    };
    says(one, new("1.0", APP)).await?;
    assert_eq!(line(&operator, &made, "stage=complete").await?, (json!("complete"), reason.clone()));
    asks(two, "1.1", json!([])).await?;
    says(two, new("1.1", APP)).await?;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([2, 2, 2, 0, 0], &json!("finished")));

    // It is taken over from one to the next, however many there are.
    let next = deploy(&operator, &[OTHER], json!({"waves": waves()})).await?;
    says(one, runs(&[("org.example.pump", "2.0")], json!([]))).await?;
    assert_eq!(line(&operator, &next, "").await?, (Value::Null, reason));
    // Said again, since the answer was lost, it is still from before. That it goes back in this one is another matter.
    asks(one, "1.0", json!([outcome(OS[1], "rolled-back", WHY)])).await?;
    assert_eq!(counts(&shown(&operator, &next).await?)[4], 0);
    asks(one, "1.1", json!([outcome(OS[1], "trial", "")])).await?;
    asks(one, "1.0", json!([outcome(OS[1], "rolled-back", WHY)])).await?;
    assert_eq!(counts(&shown(&operator, &next).await?)[4], 1);
    Ok(())
}

pub(crate) async fn release_that_is_deployed_again_has_failed_where_it_went_back(site: &Site) -> Result<()> {
    let (operator, devices, _) = begin(site, 3).await?;
    deploy(&operator, &OS[1..2], json!({})).await?;
    for (at, why) in [WHY, "it is not well"].into_iter().enumerate() {
        let device = &devices[at].1;
        asks(device, "1.0", json!([])).await?;
        asks(device, "1.0", json!([outcome(OS[1], "rolled-back", why)])).await?;
    }
    let made = deploy(&operator, &OS[1..2], json!({"waves": waves()})).await?;
    let device = &devices[0].1;
    assert_eq!(asks(device, "1.0", json!([])).await?["releases"], json!([OS[1]]), "its owner may insist");
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([3, 1, 0, 1, 0], &json!("running")));
    let reason = format!("{} rolled-back before: {WHY}", OS[1]);
    assert_eq!(line(&operator, &made, "").await?, (json!("failed"), reason));
    // Its owner insists.
    asks(device, "1.1", json!([outcome(OS[1], "trial", "")])).await?;
    assert_eq!(line(&operator, &made, "").await?, (json!("trial"), String::new()));
    asks(device, "1.1", json!([outcome(OS[1], "complete", "")])).await?;
    assert_eq!(counts(&shown(&operator, &made).await?), [3, 1, 1, 0, 0]);

    // Too many of these stop it as those do that fail now.
    asks(&devices[1].1, "1.0", json!([])).await?;
    asks(&devices[2].1, "1.0", json!([])).await?;
    asks(&devices[2].1, "1.0", json!([outcome(OS[1], "failed", "no space")])).await?;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([3, 3, 1, 2, 0], &json!("stopped")));

    // Who only failed was taken off that one, and begins anew.
    let again = deploy(&operator, &OS[1..2], json!({})).await?;
    asks(&devices[2].1, "1.0", json!([])).await?;
    assert_eq!(counts(&shown(&operator, &again).await?), [3, 1, 0, 0, 0]);
    asks(&devices[1].1, "1.0", json!([])).await?;
    assert_eq!(counts(&shown(&operator, &again).await?), [3, 2, 0, 1, 0]);
    Ok(())
}

pub(crate) async fn verdict_of_a_release_that_was_superseded_in_its_trial_is_not_lost(
    site: &Site,
) -> Result<()> {
    let (operator, devices, releaser) = begin(site, 2).await?;
    releaser.release(&operator, OS[2]).await?;
    let (one, two) = (&devices[0].1, &devices[1].1);
    deploy(&operator, &OS[1..2], json!({})).await?;
    for device in [one, two] {
        asks(device, "1.0", json!([])).await?;
        asks(device, "1.1", json!([outcome(OS[1], "trial", "")])).await?;
    }
    deploy(&operator, &OS[2..3], json!({})).await?;
    for device in [one, two] {
        asks(device, "1.1", json!([])).await?;
    }
    asks(one, "1.1", json!([outcome(OS[1], "complete", "")])).await?;
    asks(two, "1.0", json!([outcome(OS[1], "rolled-back", WHY)])).await?;
    let made = deploy(&operator, &OS[1..2], json!({})).await?;
    asks(one, "1.1", json!([])).await?;
    asks(two, "1.0", json!([])).await?;
    assert_eq!(counts(&shown(&operator, &made).await?), [2, 2, 1, 1, 0]);
    let reason = format!("{} rolled-back before: {WHY}", OS[1]);
    assert_eq!(line(&operator, &made, "stage=failed").await?, (json!("failed"), reason));
    Ok(())
}

pub(crate) async fn app_that_went_back_keeps_off_the_apps_that_come_with_it(site: &Site) -> Result<()> {
    let (operator, devices, releaser) = begin(site, 1).await?;
    releaser.release(&operator, APP).await?;
    releaser.release(&operator, OTHER).await?;
    let device = &devices[0].1;
    deploy(&operator, &[APP], json!({})).await?;
    asks(device, "1.0", json!([])).await?;
    asks(device, "1.0", json!([outcome(APP, "rolled-back", WHY)])).await?;
    // The system comes without it.
    let system = deploy(&operator, &OS[1..2], json!({"waves": waves()})).await?;
    asks(device, "1.0", json!([])).await?;
    asks(device, "1.1", json!([outcome(OS[1], "complete", "")])).await?;
    assert_eq!(shown(&operator, &system).await?["state"], "finished");
    // Another app does not: a device takes all or none.
    let made = deploy(&operator, &[OTHER], json!({"waves": waves()})).await?;
    asks(device, "1.1", json!([])).await?;
    let state = shown(&operator, &made).await?;
    assert_eq!((counts(&state), &state["state"]), ([1, 1, 0, 1, 0], &json!("stopped")));
    let reason = format!("{APP} rolled-back before: {WHY}");
    assert_eq!(line(&operator, &made, "").await?, (json!("failed"), reason));
    Ok(())
}

pub(crate) async fn what_a_device_said_follows_it_to_another_group_and_to_no_other_catalog(
    site: &Site,
) -> Result<()> {
    let (operator, devices, _) = begin(site, 1).await?;
    let (device, client) = &devices[0];
    deploy(&operator, &OS[1..2], json!({})).await?;
    asks(client, "1.0", json!([])).await?;
    let drawer = json!({"product": "pump", "group": "drawer"});
    let path = format!("/v1/catalogs/one/devices/{}", device.id);
    operator.send("PUT", &format!("{path}/placement"), Some(&drawer)).await?.json(204)?;
    let client = device.certified(site).await?;
    let made = deploy(&operator, &OS[1..2], json!({"group": "drawer"})).await?;
    // It says so where it is by now.
    asks(&client, "1.0", json!([outcome(OS[1], "rolled-back", WHY)])).await?;
    assert_eq!(counts(&shown(&operator, &made).await?), [1, 1, 0, 1, 0]);
    let again = deploy(&operator, &OS[1..2], json!({"group": "drawer"})).await?;
    asks(&client, "1.0", json!([])).await?;
    assert_eq!(counts(&shown(&operator, &again).await?), [1, 1, 0, 1, 0]);

    crate::support::actors::catalog(&operator, "two").await?;
    let offer = operator.send("POST", &format!("{path}/transfer"), None).await?.json(201)?;
    let claim = json!({"device": device.id, "proof": offer["token"], "product": "pump", "group": "field"});
    operator.post("/v1/catalogs/two/claims", claim).await?.json(201)?;
    let client = device.certified(site).await?;
    let new = json!({"product": "pump", "group": "field", "releases": OS[1..2]});
    let made = operator.post("/v1/catalogs/two/deployments", new).await?.json(201)?;
    asks(&client, "1.0", json!([])).await?;
    let path = format!("/v1/catalogs/two/deployments/{}", made["number"]);
    assert_eq!(counts(&operator.get(&path).await?.json(200)?), [1, 1, 0, 0, 0]);
    Ok(())
}
