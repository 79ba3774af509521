//! People and machines, and what each may do.

use crate::support::actors::{Device, b64, catalog, member, operator, redeem, text};
use crate::support::client::Client;
use crate::support::{BEGIN, Site};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use service::secrets;
use service::store::Store;
use service::store::people::{self as store_people, Tokens};

/// Every path below a catalog with what it needs: 0 a reader, 1 a contributor, 2 an administrator.
fn paths(device: &str) -> Vec<(&'static str, String, Option<Value>, usize)> {
    let at = |rest: &str| format!("/v1/catalogs/one{rest}");
    let of = |rest: &str| format!("/v1/catalogs/one/devices/{device}{rest}");
    let new = Some(json!({"name": "new"}));
    let claim =
        json!({"device": device, "proof": "a-proof-that-is-none", "product": "pump", "group": "field"});
    vec![
        ("GET", at(""), None, 0),
        ("GET", at("/members"), None, 0),
        ("PUT", at("/members/nobody"), Some(json!({"role": "reader"})), 2),
        ("DELETE", at("/members/nobody"), None, 2),
        ("POST", at("/invitations"), Some(json!({"subject": "another", "role": "reader"})), 2),
        ("GET", at("/machines"), None, 0),
        (
            "POST",
            at("/machines"),
            Some(json!({"name": "m", "role": "reader", "certificate_sha256": b64(&[1; 32])})),
            2,
        ),
        ("DELETE", at("/machines/none"), None, 2),
        ("GET", at("/products"), None, 0),
        ("POST", at("/products"), new.clone(), 2),
        ("DELETE", at("/products/none"), None, 2),
        ("GET", at("/products/pump/groups"), None, 0),
        ("POST", at("/products/pump/groups"), new, 2),
        ("GET", at("/products/pump/groups/field"), None, 0),
        ("DELETE", at("/products/pump/groups/none"), None, 2),
        ("PUT", at("/products/pump/groups/field/policy"), Some(json!({})), 2),
        ("GET", at("/releases"), None, 0),
        ("POST", at("/releases"), Some(json!({"name": "r1", "reference_values": {"values": 1}})), 2),
        ("GET", at("/releases/none"), None, 0),
        ("PUT", at("/releases/none/withdrawal"), Some(json!({"withdrawn": true})), 2),
        ("POST", at("/claims"), Some(claim), 1),
        ("GET", at("/devices"), None, 0),
        ("GET", of(""), None, 0),
        ("GET", of("/attestation"), None, 0),
        ("GET", of("/certificates"), None, 0),
        ("PUT", of("/placement"), Some(json!({"product": "pump", "group": "none"})), 1),
        ("POST", of("/transfer"), None, 2),
        ("DELETE", of("/transfer"), None, 2),
        ("POST", of("/recovery-key"), None, 2),
        ("PUT", of("/revocation"), None, 2),
        ("DELETE", of("/revocation"), None, 2),
        ("GET", at("/artefacts"), None, 0),
        ("GET", at(&format!("/artefacts/{}", "a".repeat(64))), None, 0),
        ("PUT", at(&format!("/artefacts/{}", "a".repeat(64))), Some(json!("no artefact")), 2),
        ("GET", at("/updates"), None, 0),
        ("POST", at("/updates"), Some(json!({"roles": []})), 2),
        ("GET", at("/deployments"), None, 0),
        ("POST", at("/deployments"), Some(json!({"product": "pump", "group": "field", "releases": []})), 2),
        ("GET", at("/deployments/1"), None, 0),
        ("GET", at("/deployments/1/devices"), None, 0),
        ("POST", at("/deployments/1/pause"), Some(json!({})), 2),
        ("POST", at("/deployments/1/resume"), None, 2),
        ("POST", at("/deployments/1/stop"), Some(json!({})), 2),
        ("POST", at("/deployments/1/approve"), Some(json!({"open": 1})), 2),
        ("GET", at("/products/pump/feeds"), None, 0),
        ("POST", at("/products/pump/feeds"), Some(json!({"name": "stable"})), 2),
        ("GET", at("/products/pump/feeds/stable/entries"), None, 0),
        ("POST", at("/products/pump/feeds/stable/entries"), Some(json!({"releases": []})), 2),
        ("GET", at("/products/pump/groups/field/feed"), None, 0),
        ("PUT", at("/products/pump/groups/field/feed"), Some(json!({"feed": "none"})), 2),
        ("DELETE", at("/products/pump/groups/field/feed"), None, 2),
        ("GET", of("/updates"), None, 0),
        ("POST", of("/update-check"), None, 1),
        ("PUT", of("/update-order"), Some(json!({"act": "resume"})), 2),
        ("DELETE", of("/update-order"), None, 2),
        ("GET", at("/audit"), None, 0),
        ("GET", at("/reports"), None, 0),
        // Last: afterwards the device is nobody's.
        ("DELETE", of("/claim"), None, 2),
    ]
}

pub(crate) async fn role_of_each_caller_decides_on_each_path(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    catalog(&operator, "two").await?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let stranger = member(site, &operator, "two", "stranger", "administrator").await?;
    let members = [
        member(site, &operator, "one", "reader", "reader").await?,
        member(site, &operator, "one", "contributor", "contributor").await?,
        member(site, &operator, "one", "administrator", "administrator").await?,
    ];
    for (method, path, body, needed) in paths(&device.id) {
        let asked = async |client: &Client| client.send(method, &path, body.as_ref()).await;
        let nobody = asked(&site.client()?).await?;
        nobody.refused(401).with_context(|| format!("{method} {path} without credentials"))?;
        asked(&site.client()?.with_token("a-token-that-is-none")).await?.refused(401)?;
        let reasons =
            asked(&stranger).await?.refused(404).with_context(|| format!("{method} {path}, stranger"))?;
        ensure!(reasons == r#"["no such catalog"]"#, "{method} {path} tells a stranger: {reasons}");
        for (role, client) in members.iter().enumerate() {
            let answer = asked(client).await?;
            let refused =
                answer.status == 403 && String::from_utf8_lossy(&answer.body).contains("needs the role");
            ensure!(refused == (role < needed), "{method} {path}, role {role}: {}", answer.status);
            let hidden =
                answer.status == 404 && answer.body.windows(15).any(|part| part == b"no such catalog");
            ensure!(
                answer.status != 401 && answer.status < 500 && !hidden,
                "{method} {path}: {}",
                answer.status
            );
        }
    }
    stranger.post("/v1/catalogs", json!({"name": "three"})).await?.refused(403)?;
    Ok(())
}

pub(crate) async fn code_is_good_once_and_for_a_day(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    let again = site.client()?.post("/v1/sessions", json!({"code": site.code})).await?;
    again.refused(401)?;
    catalog(&operator, "one").await?;
    let invited = json!({"subject": "ann", "role": "reader"});
    let invitation = operator.post("/v1/catalogs/one/invitations", invited).await?.json(201)?;
    site.wait(86_400);
    site.client()?.post("/v1/sessions", json!({"code": invitation["code"]})).await?.refused(401)?;
    // The operator's own token ended after an hour.
    operator.get("/v1/me").await?.refused(401)?;
    Ok(())
}

pub(crate) async fn refresh_token_used_twice_ends_the_session(site: &Site) -> Result<()> {
    let client = site.client()?;
    let first = client.post("/v1/sessions", json!({"code": site.code})).await?.json(201)?;
    let refresh = async |token: &Value| client.post("/v1/sessions/refresh", json!({"refresh": token})).await;
    let second = refresh(&first["refresh"]).await?.json(200)?;
    client.with_token(&text(&first["token"])?).get("/v1/me").await?.refused(401)?;
    let now = client.with_token(&text(&second["token"])?);
    assert_eq!(now.get("/v1/me").await?.json(200)?["operator"], true);
    refresh(&first["refresh"]).await?.refused(401)?;
    now.get("/v1/me").await?.refused(401)?;
    refresh(&second["refresh"]).await?.refused(401)?;
    Ok(())
}

pub(crate) async fn last_administrator_stays(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let me = "/v1/catalogs/one/members/operator";
    operator.send("DELETE", me, None).await?.refused(409)?;
    operator.send("PUT", me, Some(&json!({"role": "reader"}))).await?.refused(409)?;
    let ann = member(site, &operator, "one", "ann", "administrator").await?;
    ann.send("DELETE", me, None).await?.json(204)?;
    // Taken away at once, the session notwithstanding.
    operator.get("/v1/catalogs/one").await?.refused(404)?;
    Ok(())
}

pub(crate) async fn name_known_elsewhere_cannot_be_invited(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    catalog(&operator, "two").await?;
    let ann = member(site, &operator, "one", "ann", "administrator").await?;
    let bob = member(site, &operator, "two", "bob", "administrator").await?;
    for victim in ["ann", "operator"] {
        let invited = json!({"subject": victim, "role": "reader"});
        bob.post("/v1/catalogs/two/invitations", invited).await?.refused(409)?;
    }
    // Both invite a new name: the first to come in has it.
    let invited = json!({"subject": "eve", "role": "reader"});
    let first = ann.post("/v1/catalogs/one/invitations", invited.clone()).await?.json(201)?;
    let second = bob.post("/v1/catalogs/two/invitations", invited).await?.json(201)?;
    redeem(site, &text(&first["code"])?).await?;
    site.client()?.post("/v1/sessions", json!({"code": second["code"]})).await?.refused(409)?;
    Ok(())
}

pub(crate) async fn machine_is_known_by_its_certificate(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let own = rcgen::generate_simple_self_signed(vec!["builder".to_owned()])?;
    let (certificate, key) = (own.cert.der().to_vec(), own.signing_key.serialize_der());
    let machine = Client::new(site.running.address, &site.root, Some((vec![certificate.clone()], key)))?
        .at(site.began)?;
    machine.get("/v1/me").await?.refused(401)?;
    let sha256 = secrets::unhex(&secrets::sha256(&certificate)).context("hexadecimal")?;
    let new = json!({"name": "builder", "role": "administrator", "certificate_sha256": b64(&sha256)});
    operator.post("/v1/catalogs/one/machines", new).await?.json(201)?;
    assert_eq!(machine.get("/v1/me").await?.json(200)?["subject"], "machine.one.builder");
    let release = json!({"name": "r1", "reference_values": {"values": 1}});
    machine.post("/v1/catalogs/one/releases", release).await?.json(201)?;
    let log = operator.get("/v1/catalogs/one/audit?who=machine.one.builder").await?.json(200)?;
    assert_eq!(log["items"][0]["action"], "release.publish");
    machine.post("/v1/catalogs", json!({"name": "two"})).await?.refused(403)?;
    operator.send("DELETE", "/v1/catalogs/one/machines/builder", None).await?.json(204)?;
    machine.get("/v1/me").await?.refused(401)?;
    Ok(())
}

pub(crate) async fn provider_signs_in_who_was_invited_and_no_operator(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    let store = Store::open(&site.database).await?;
    // What the provider's token says is checked elsewhere; here only who that is.
    let sign_in = async |who: &str, number: u32| {
        let subject: service_api::Subject = who.parse()?;
        let (token, ends) = (secrets::code()?, BEGIN + 3600);
        let digests = Tokens {
            token: secrets::digest_of(&token),
            token_expires: ends,
            refresh: secrets::digest_of(&secrets::code()?),
            refresh_expires: ends,
        };
        let id = format!("session {who} {number}");
        let write = store.write(move |connection| {
            Box::pin(async move { store_people::sign_in(connection, &subject, &id, &digests, BEGIN).await })
        });
        let taken = write.await.map_err(|refusal| refusal.problem())?;
        anyhow::Ok(taken.then_some(token))
    };
    ensure!(sign_in("ada@example.org", 0).await?.is_none(), "nobody invited her");
    ensure!(sign_in("operator", 0).await?.is_none(), "an operator comes by a code");
    let path = "/v1/catalogs/one/invitations";
    let invitation = json!({"subject": "ada@example.org", "role": "contributor"});
    let code = text(&operator.post(path, invitation).await?.json(201)?["code"])?;
    for number in 0..2 {
        let token = sign_in("ada@example.org", number).await?.context("she was invited")?;
        let ada = site.client()?.with_token(token.as_str());
        let me = ada.get("/v1/me").await?.json(200)?;
        assert_eq!(me["roles"], json!([{"catalog": "one", "role": "contributor"}]), "{me}");
        ada.post("/v1/catalogs", json!({"name": "two"})).await?.refused(403)?;
    }
    // The invitation was taken up by that.
    site.client()?.post("/v1/sessions", json!({"code": code})).await?.refused(401)?;
    store.close().await;
    Ok(())
}
