//! A device from enrolment to reports, and from owner to owner.

use crate::support::Site;
use crate::support::actors::{Device, b64, catalog, member, operator, report, text};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

pub(crate) async fn device_goes_from_enrolment_to_reports(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::enrol(&site.client()?, "a").await?;
    device.attest(&site.client()?, b"good").await?.refused(403)?;
    let code = device.claim_code.clone().context("a code")?;
    device.claim(&operator, "one", &code).await?.json(201)?;
    ensure!(device.enrol_again(&site.client()?).await?.json(200)?["claim_code"].is_null(), "it has an owner");

    let certified = device.certified(site).await?;
    let batch = json!({"batch": 1, "reports": [report("SIGSEGV", 2), report("=SIGBUS,\"", 1)]});
    assert_eq!(certified.post("/device/v1/reports", batch.clone()).await?.json(200)?["taken"], 1);
    certified.post("/device/v1/reports", batch).await?.json(200)?;
    let more = json!({"batch": 2, "reports": [report("SIGSEGV", 3)]});
    certified.post("/device/v1/reports", more).await?.json(200)?;
    let path = format!("/v1/catalogs/one/reports?device={}", device.id);
    let reports = operator.get(&path).await?.json(200)?;
    let counts: Vec<_> =
        reports["items"].as_array().into_iter().flatten().map(|r| (&r["detail"], &r["count"])).collect();
    assert_eq!(counts, [(&json!("=SIGBUS,\""), &json!(1)), (&json!("SIGSEGV"), &json!(5))]);
    let csv = String::from_utf8(operator.get(&format!("{path}&format=csv")).await?.body)?;
    ensure!(csv.lines().count() == 3 && csv.contains("\"'=SIGBUS,\"\"\",1,"), "{csv}");
    site.client()?.post("/device/v1/reports", json!({"batch": 3, "reports": []})).await?.refused(401)?;

    let shown = operator.get(&format!("/v1/catalogs/one/devices/{}", device.id)).await?.json(200)?;
    assert_eq!((&shown["passed"], &shown["state"]), (&json!(true), &json!("active")));
    let certificates =
        operator.get(&format!("/v1/catalogs/one/devices/{}/certificates", device.id)).await?.json(200)?;
    assert_eq!(certificates.as_array().map(Vec::len), Some(2));
    // A day later the certificate has ended.
    site.wait(86_400);
    certified.post("/device/v1/reports", json!({"batch": 3, "reports": []})).await?.refused(401)?;
    Ok(())
}

pub(crate) async fn tpm_that_counts_backwards_is_refused_until_somebody_reinstates_it(
    site: &Site,
) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let attest = async |resets: u8, restarts: u8, log: &[u8]| {
        let client = site.client()?;
        let mut evidence = device.evidence(&device.nonce(&client).await?, log)?;
        evidence["signature"] = b64(&[resets, restarts]).into();
        client.post("/device/v1/attestations", evidence).await
    };
    attest(7, 2, b"good").await?.json(200)?;
    // What did not pass has no say in it.
    attest(9, 9, b"bad").await?.refused(403)?;
    attest(7, 2, b"good").await?.json(200)?;
    attest(7, 1, b"good").await?.refused(403)?;
    attest(6, 9, b"good").await?.refused(403)?;
    // Whoever has the TPM can enrol again; that alone excuses nothing.
    device.enrol_again(&site.client()?).await?.json(200)?;
    attest(0, 0, b"good").await?.refused(403)?;
    let path = format!("/v1/catalogs/one/devices/{}/revocation", device.id);
    operator.send("DELETE", &path, None).await?.json(204)?;
    attest(0, 0, b"good").await?.json(200)?;
    attest(8, 0, b"good").await?.json(200)?;
    attest(7, 2, b"good").await?.refused(403)?;
    Ok(())
}

pub(crate) async fn claim_needs_the_proof_of_this_device(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let (a, b) = (Device::enrol(&site.client()?, "a").await?, Device::enrol(&site.client()?, "b").await?);
    let (code_a, code_b) = (a.claim_code.clone().context("a")?, b.claim_code.clone().context("b")?);
    a.claim(&operator, "one", &code_b).await?.refused(403)?;
    // Whoever has access to the device can have a new code, which replaces the one that somebody may have read.
    let again = a.enrol_again(&site.client()?).await?.json(200)?;
    a.claim(&operator, "one", &code_a).await?.refused(403)?;
    a.claim(&operator, "one", &text(&again["claim_code"])?).await?.json(201)?;
    a.claim(&operator, "one", &text(&again["claim_code"])?).await?.refused(403)?;
    // One wrong secret uses the enrolment up.
    let new = json!({"ek_public": "AAAA", "ak_public": "AAAA"});
    let challenge = site.client()?.post("/device/v1/enrolments", new).await?.json(201)?;
    let path = format!("/device/v1/enrolments/{}", text(&challenge["enrolment"])?);
    site.client()?.post(&path, json!({"secret": "AAAA"})).await?.refused(403)?;
    site.client()?.post(&path, json!({"secret": challenge["credential_blob"]})).await?.refused(403)?;
    Ok(())
}

pub(crate) async fn transfer_takes_the_device_and_its_certificates_away(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    catalog(&operator, "two").await?;
    let seller = member(site, &operator, "one", "seller", "administrator").await?;
    let buyer = member(site, &operator, "two", "buyer", "contributor").await?;
    let device = Device::claimed(site, "a", &seller, "one").await?;
    let certified = device.certified(site).await?;
    let at = |catalog: &str| format!("/v1/catalogs/{catalog}/devices/{}", device.id);
    buyer.get(&at("two")).await?.refused(404)?;
    let offer = async || seller.send("POST", &format!("{}/transfer", at("one")), None).await?.json(201);
    let taken_back = text(&offer().await?["token"])?;
    seller.send("DELETE", &format!("{}/transfer", at("one")), None).await?.json(204)?;
    device.claim(&buyer, "two", &taken_back).await?.refused(403)?;
    let token = text(&offer().await?["token"])?;
    device.claim(&seller, "one", &token).await?.refused(403)?;
    device.claim(&buyer, "two", &token).await?.json(201)?;
    device.claim(&buyer, "two", &token).await?.refused(403)?;
    seller.get(&at("one")).await?.refused(404)?;
    certified.post("/device/v1/reports", json!({"batch": 1, "reports": []})).await?.refused(401)?;
    buyer.get(&format!("{}/attestation", at("two"))).await?.refused(404)?;
    device
        .certified(site)
        .await?
        .post("/device/v1/reports", json!({"batch": 1, "reports": []}))
        .await?
        .json(200)?;
    let left = seller.get("/v1/catalogs/one/audit?limit=1000").await?.json(200)?;
    let last = left["items"].as_array().and_then(|items| items.last()).context("entries")?;
    assert_eq!((&last["action"], &last["who"]), (&json!("device.leave"), &json!("buyer")));
    Ok(())
}

pub(crate) async fn nonce_is_used_once_and_in_time(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let (a, b) = (
        Device::claimed(site, "a", &operator, "one").await?,
        Device::claimed(site, "b", &operator, "one").await?,
    );
    let client = site.client()?;
    let attest = async |device: &Device, nonce: &Value| {
        client.post("/device/v1/attestations", device.evidence(nonce, b"good")?).await
    };
    let nonce = a.nonce(&client).await?;
    attest(&b, &nonce).await?.refused(403)?;
    attest(&a, &nonce).await?.json(200)?;
    ensure!(attest(&a, &nonce).await?.refused(403)?.contains("used before"), "replayed");
    let late = a.nonce(&client).await?;
    site.wait(61);
    ensure!(attest(&a, &late).await?.refused(403)?.contains("ended"), "late");
    attest(&a, &json!("A".repeat(43))).await?.refused(403)?;
    Ok(())
}

pub(crate) async fn evidence_that_fails_is_shown_to_the_owner(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let refused = device.attest(&site.client()?, b"bad").await?.refused(403)?;
    ensure!(refused.contains("the boot log is not good"), "{refused}");
    let at = format!("/v1/catalogs/one/devices/{}", device.id);
    let verdict = operator.get(&format!("{at}/attestation")).await?.json(200)?;
    assert_eq!(
        (&verdict["passed"], &verdict["reasons"][0]),
        (&json!(false), &json!("the boot log is not good"))
    );
    assert_eq!(
        operator.get("/v1/catalogs/one/devices?passed=false").await?.json(200)?["items"][0]["device"],
        device.id
    );
    assert_eq!(operator.get("/v1/catalogs/one/devices?passed=true").await?.json(200)?["items"], json!([]));
    // What is not the device's own changes nothing.
    let nonce = device.nonce(&site.client()?).await?;
    let mut forged = device.evidence(&nonce, b"good")?;
    forged["quote"] = json!("AAAA");
    site.client()?.post("/device/v1/attestations", forged).await?.refused(403)?;
    assert_eq!(operator.get(&format!("{at}/attestation")).await?.json(200)?, verdict);
    Ok(())
}

pub(crate) async fn revoked_certificate_is_on_the_list_and_refused(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let certified = device.certified(site).await?;
    let list = async || anyhow::Ok(site.client()?.get("/device/v1/crl?catalog=one").await?.body.len());
    let empty = list().await?;
    let at = format!("/v1/catalogs/one/devices/{}", device.id);
    operator.send("PUT", &format!("{at}/revocation"), None).await?.json(204)?;
    ensure!(list().await? > empty + 30, "the list has two certificates");
    certified.post("/device/v1/reports", json!({"batch": 1, "reports": []})).await?.refused(401)?;
    ensure!(device.attest(&site.client()?, b"good").await?.refused(403)?.contains("revoked"), "revoked");
    operator.send("POST", &format!("{at}/transfer"), None).await?.refused(409)?;
    operator.send("DELETE", &format!("{at}/revocation"), None).await?.json(204)?;
    certified.post("/device/v1/reports", json!({"batch": 1, "reports": []})).await?.refused(401)?;
    device
        .certified(site)
        .await?
        .post("/device/v1/reports", json!({"batch": 1, "reports": []}))
        .await?
        .json(200)?;
    let pem = String::from_utf8(site.client()?.get("/device/v1/ca?catalog=one").await?.body)?;
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 1);
    ensure!(pem != site.root_pem(), "who trusts the root takes every catalog's devices");
    site.client()?.get("/device/v1/crl?catalog=two").await?.refused(404)?;
    Ok(())
}
