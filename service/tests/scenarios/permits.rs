//! Permits: issued, given to their device, ended.

use crate::support::actors::{Device, b64, catalog, member, operator, text};
use crate::support::{BEGIN, Site};
use anyhow::{Context as _, Result, ensure};
use permit::{Book, Ground, Taken, Way, developer};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

const WEEK_S: u64 = 7 * 86_400;

pub(super) fn certificate() -> Result<Vec<u8>> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    Ok(CertificateParams::new(Vec::<String>::new())?.self_signed(&key)?.der().to_vec())
}

pub(super) fn asked(certificate: &[u8]) -> Value {
    json!({"certificate": b64(certificate), "lifetime_s": WEEK_S, "note": "a bench"})
}

pub(crate) async fn permit_reaches_its_device_and_no_other_until_it_is_ended(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let other = Device::claimed(site, "b", &operator, "one").await?;
    let at = format!("/v1/catalogs/one/devices/{}/permits", device.id);
    let ours = certificate()?;
    let issued = operator.post(&at, asked(&ours)).await?.json(201)?;
    let token = text(&issued["permit"])?;
    // What it says is what was asked for, and it is signed by the authority that the device's own certificate leads to.
    let granted = device.attest(&site.client()?, b"good").await?.json(200)?;
    assert_eq!(granted["permit"], issued["permit"]);
    ensure!(
        other.attest(&site.client()?, b"good").await?.json(200)?["permit"].is_null(),
        "it is the other's"
    );
    let chain = granted["certificates"][0]["chain"].as_array().context("a chain")?;
    let authority = crate::support::actors::unb64(&chain[1])?;
    let authority = developer::point_of(&authority).context("its key")?;
    let ground = |device| Ground { device, catalog: "one", authority: &authority };
    let begin = u64::try_from(BEGIN)?;
    let mut book = Book::default();
    assert_eq!(book.take(&token, ground(&device.id), Way::Service, begin), Ok(Taken::New));
    let held = book.in_force(Some(ground(&device.id)), begin).context("in force")?;
    ensure!(held.terms().developer.is(&ours), "whose");
    assert_eq!((held.terms().issued_s, held.terms().expires_s), (begin, begin + WEEK_S));
    ensure!(Book::default().take(&token, ground(&other.id), Way::Hand, begin).is_err(), "taken elsewhere");
    // A second one in the same second is newer, and the first has ended.
    let second = operator.post(&at, asked(&certificate()?)).await?.json(201)?;
    assert_eq!(second["issued"], begin + 1);
    let next = text(&second["permit"])?;
    assert_eq!(book.take(&next, ground(&device.id), Way::Service, begin), Ok(Taken::New));
    let listed = operator.get(&at).await?.json(200)?;
    ensure!(listed[0]["ended"].is_null() && listed[1]["ended"] == BEGIN, "{listed}");
    let first = text(&issued["id"])?;
    operator.send("DELETE", &format!("{at}/{first}"), None).await?.refused(404)?;
    operator.send("DELETE", &format!("{at}/{}", text(&second["id"])?), None).await?.json(204)?;
    ensure!(device.attest(&site.client()?, b"good").await?.json(200)?["permit"].is_null(), "it was ended");
    let log = operator.get("/v1/catalogs/one/audit?limit=1000").await?.json(200)?;
    let log = log["items"].as_array().context("a log")?;
    let actions: Vec<_> = log.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "device.permit").count(), 2);
    assert_eq!(actions.iter().filter(|action| **action == "device.permit-end").count(), 1);
    Ok(())
}

pub(crate) async fn permit_is_issued_by_contributors_for_devices_of_theirs(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    for name in ["one", "two"] {
        catalog(&operator, name).await?;
    }
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let at = |catalog: &str| format!("/v1/catalogs/{catalog}/devices/{}", device.id);
    let permits = |catalog: &str| format!("{}/permits", at(catalog));
    let ours = certificate()?;
    let reader = member(site, &operator, "one", "rita", "reader").await?;
    reader.post(&permits("one"), asked(&ours)).await?.refused(403)?;
    reader.get(&permits("one")).await?.json(200)?;
    let contributor = member(site, &operator, "one", "carla", "contributor").await?;
    contributor.post(&permits("two"), asked(&ours)).await?.refused(404)?;
    operator.post(&permits("two"), asked(&ours)).await?.refused(404)?;
    for (member, wrong) in [
        ("lifetime_s", json!(0)),
        ("lifetime_s", json!(31 * 86_400)),
        ("certificate", json!(b64(b"none"))),
        ("note", json!("a\u{7}")),
    ] {
        let mut asked = asked(&ours);
        asked[member] = wrong;
        contributor.post(&permits("one"), asked).await?.refused(400)?;
    }
    let issued = contributor.post(&permits("one"), asked(&ours)).await?.json(201)?;
    assert_eq!(issued["issuer"], "carla");
    // Whoever gives the device up, or has it taken from him, has let nobody in.
    let offer = operator.send("POST", &format!("{}/transfer", at("one")), None).await?.json(201)?;
    device.claim(&operator, "two", &text(&offer["token"])?).await?.json(201)?;
    ensure!(device.attest(&site.client()?, b"good").await?.json(200)?["permit"].is_null(), "it is another's");
    contributor.get(&permits("one")).await?.refused(404)?;
    let theirs = operator.post(&permits("two"), asked(&ours)).await?.json(201)?;
    operator.send("PUT", &format!("{}/revocation", at("two")), None).await?.json(204)?;
    operator.send("DELETE", &format!("{}/revocation", at("two")), None).await?.json(204)?;
    let listed = operator.get(&permits("two")).await?.json(200)?;
    ensure!(listed[0]["id"] == theirs["id"] && !listed[0]["ended"].is_null(), "{listed}");
    Ok(())
}
