//! Sign-in to the Security Service by an OpenID provider, whose tokens the Python package `jwt` signs: good ones, and each way
//! in which one may be wrong.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use conformance::python;
use serde_json::{Value, json};
use service::attest::{Makers, TpmVerifier};
use service::ca::AuthorityFile;
use service::clock::Clock;
use service::http::Service;
use service::limits::{Limits, Rate};
use service::oidc::{Config, OidcError, Outcome, Provider, token::TokenError};
use service::outgoing::Outgoing;
use service::run::{Own, Running};
use service::secrets;
use service::store::{Store, people};

/// The provider, which ends with this.
struct Idp {
    child: Child,
    issuer: String,
}

impl Drop for Idp {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}

impl Idp {
    fn start() -> Result<Self> {
        let mut python = python::with_jwt()?;
        python.arg(python::scripts().join("oidc.py"));
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let port: u16 = line.trim().parse().context("the provider's port")?;
        Ok(Self { child, issuer: format!("http://localhost:{port}") })
    }

    fn provider(&self, claim: &str) -> Result<Provider> {
        let (issuer, client, claim) = (self.issuer.clone(), "gabion".to_owned(), claim.to_owned());
        Ok(Provider::new(Config { issuer, client, claim, again_s: 0 }, Outgoing::new(b"")?))
    }

    async fn mode(&self, name: &str) -> Result<()> {
        let request = Request::post(format!("{}/mode/{name}", self.issuer)).header("Content-Length", "0");
        ensure!(Outgoing::new(b"")?.call(request.body(Body::empty())?).await?.status() == 200, "{name}");
        Ok(())
    }
}

fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

#[test]
fn token_that_is_wrong_in_one_way_signs_nobody_in() -> Result<()> {
    let idp = Idp::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let provider = idp.provider("email")?;
        let begun = provider.begin("a nonce & more").await?;
        assert_eq!((begun.user_code.as_str(), begun.interval), ("WDJB-MJHT", 1));
        let poll = async |mode: &str| -> Result<Result<Outcome, OidcError>> {
            idp.mode(mode).await?;
            Ok(provider.poll(&begun.device_code, "a nonce & more", now()?).await)
        };
        let ada = || Outcome::Person("ada@example.org".to_owned());
        for good in ["good", "curve", "without-nonce"] {
            assert_eq!(poll(good).await??, ada(), "{good}");
        }
        assert_eq!(poll("pending").await??, Outcome::Pending);
        assert_eq!(poll("slow").await??, Outcome::SlowDown);
        assert!(matches!(poll("denied").await?, Err(OidcError::Refused(word)) if word == "access_denied"));
        for (mode, wrong) in [
            ("issuer", TokenError::Issuer),
            ("audience", TokenError::Audience),
            ("audiences", TokenError::Audience),
            ("party", TokenError::Audience),
            ("nonce", TokenError::Nonce),
            ("expired", TokenError::Time),
            ("future", TokenError::Time),
            ("old", TokenError::Time),
            ("unverified", TokenError::Person),
            ("none", TokenError::Algorithm),
            ("confusion", TokenError::Algorithm),
            ("wrong-kind", TokenError::Algorithm),
            ("wrong-key", TokenError::Signature),
            ("altered", TokenError::Signature),
            ("unknown-key", TokenError::Key),
        ] {
            let answer = poll(mode).await?;
            ensure!(matches!(&answer, Err(OidcError::Token(why)) if *why == wrong), "{mode}: {answer:?}");
        }
        // A key that the provider did not have before.
        assert_eq!(poll("rotated").await??, ada());
        assert_eq!(poll("good").await??, ada(), "and the one before still counts");
        idp.mode("good").await?;
        assert!(matches!(provider.poll("no flow", "", now()?).await, Err(OidcError::Refused(_))));
        let by_name = idp.provider("preferred_username")?;
        let answer = by_name.poll(&begun.device_code, "a nonce & more", now()?).await;
        assert!(matches!(answer, Err(OidcError::Token(TokenError::Person))));
        anyhow::Ok(())
    })
}

/// A service that takes sign-ins of the provider, and a way to it.
struct Site {
    running: Running,
    outgoing: Outgoing,
    token: Option<String>,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start(idp: &Idp) -> Result<(Self, String)> {
        let folder = tempfile::tempdir()?;
        let database = format!("sqlite://{}?mode=rwc", folder.path().join("state.sqlite").display());
        let names = ["localhost".to_owned()];
        let file = AuthorityFile::make(&names, "a passphrase", std::num::NonZeroU32::MIN, now()?)?;
        let (store, _) = Store::migrate(&database).await?;
        let (code, subject) = (secrets::spoken_code()?, "operator".parse()?);
        let (digest, ends) = (secrets::digest_of(&code), now()? + 3600);
        let kept = store.write(move |connection| {
            Box::pin(async move { people::invite(connection, &digest, &subject, None, ends).await })
        });
        kept.await.map_err(|refusal| refusal.problem())?;
        let verifier = Box::new(TpmVerifier::new(Makers::Anybody, Clock::System));
        let limits = Limits::new(Rate { burst: 1000, per_second: 1000 });
        let authority = file.open("a passphrase")?;
        let mut service = Service::new(store, authority, verifier, Clock::System, limits);
        service.oidc = Some(idp.provider("email")?);
        let running =
            Running::start(service, Own::Made(names.to_vec()), ([127, 0, 0, 1], 0).into(), None).await?;
        let outgoing = Outgoing::new(file.root_pem().as_bytes())?;
        let site = Self { running, outgoing, token: None, _folder: folder };
        Ok((site, code.as_str().to_owned()))
    }

    async fn post(&self, path: &str, body: Value) -> Result<(u16, Value)> {
        let body = body.to_string();
        let place = format!("https://localhost:{}{path}", self.running.address.port());
        let request = Request::post(place).header("Content-Type", "application/json");
        let mut request = request.header("Content-Length", body.len());
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = self.outgoing.call(request.body(Body::from(body))?).await?;
        let status = answer.status().as_u16();
        let body = to_bytes(Body::new(answer.into_body()), 1 << 20).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

#[test]
fn only_who_was_invited_is_signed_in_and_nobody_as_operator() -> Result<()> {
    let idp = Idp::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (mut site, code) = Site::start(&idp).await?;
        let begin = async |site: &Site| -> Result<Value> {
            let (status, flow) = site.post("/v1/sessions/oidc", json!({})).await?;
            ensure!(status == 200 && flow["user_code"] == "WDJB-MJHT", "{status} {flow}");
            Ok(flow["flow"].clone())
        };
        let flow = begin(&site).await?;
        let step = async |site: &Site, flow: &Value| {
            site.post("/v1/sessions/oidc/step", json!({"flow": flow})).await
        };
        idp.mode("pending").await?;
        let (status, answer) = step(&site, &flow).await?;
        ensure!(status == 200 && answer["session"].is_null() && answer["interval_s"] == 1, "{answer}");
        idp.mode("good").await?;
        assert_eq!(step(&site, &flow).await?.0, 403, "nobody has invited her");

        let (_, session) = site.post("/v1/sessions", json!({"code": code})).await?;
        site.token = session["token"].as_str().map(str::to_owned);
        site.post("/v1/catalogs", json!({"name": "one"})).await?;
        let invitation = json!({"subject": "ada@example.org", "role": "reader"});
        assert_eq!(site.post("/v1/catalogs/one/invitations", invitation).await?.0, 201);
        site.token = None;
        // The first time by the invitation that waits, then as the person that she is.
        for time in 0..2 {
            let flow = begin(&site).await?;
            let (status, answer) = step(&site, &flow).await?;
            let session = &answer["session"];
            ensure!(status == 200 && session["subject"] == "ada@example.org", "{time}: {answer}");
            site.token = session["token"].as_str().map(str::to_owned);
            let new = json!({"name": "pump"});
            assert_eq!(site.post("/v1/catalogs/one/products", new).await?.0, 403, "she is a reader");
            assert_eq!(site.post("/v1/catalogs", json!({"name": "two"})).await?.0, 403, "and no operator");
            site.token = None;
        }
        for (mode, status) in [("stranger", 403), ("operator", 403), ("denied", 401), ("confusion", 401)] {
            idp.mode(mode).await?;
            let flow = begin(&site).await?;
            assert_eq!(step(&site, &flow).await?.0, status, "{mode}");
        }
        idp.mode("good").await?;
        let mut altered = flow.as_str().context("a flow")?.to_owned();
        altered.replace_range(20..21, if altered[20..21] == *"A" { "B" } else { "A" });
        assert_eq!(step(&site, &json!(altered)).await?.0, 401, "sealed");
        site.running.stop().await;
        anyhow::Ok(())
    })
}
