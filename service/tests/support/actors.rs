//! Who acts in the scenarios: people with roles, and a device.

use super::client::{Answer, Client};
use super::{BEGIN, Site};
use anyhow::{Context as _, Result};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde_json::{Value, json};
use service::secrets;
use service_api::Bytes;
use std::net::SocketAddr;

/// Base64url.
pub(crate) fn b64(bytes: &[u8]) -> String {
    Bytes::<1_000_000>::new(bytes).unwrap_or_default().encode()
}

/// What base64url says.
pub(crate) fn unb64(value: &Value) -> Result<Vec<u8>> {
    let bytes = value.as_str().and_then(Bytes::<1_000_000>::decode);
    Ok(bytes.with_context(|| format!("{value} is no base64url"))?.into_vec())
}

/// A text in an answer.
pub(crate) fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("{value} is no text"))
}

/// The operator, with a session.
pub(crate) async fn operator(site: &Site) -> Result<Client> {
    redeem(site, &site.code).await
}

/// Whoever has a code.
pub(crate) async fn redeem(site: &Site, code: &str) -> Result<Client> {
    sign_in(&site.client()?, code).await
}

/// The same for a client.
pub(crate) async fn sign_in(client: &Client, code: &str) -> Result<Client> {
    let session = client.post("/v1/sessions", json!({"code": code})).await?.json(201)?;
    Ok(client.with_token(&text(&session["token"])?))
}

/// Makes a catalog with product `pump` and group `field`.
pub(crate) async fn catalog(operator: &Client, name: &str) -> Result<()> {
    operator.post("/v1/catalogs", json!({"name": name})).await?.json(201)?;
    let products = format!("/v1/catalogs/{name}/products");
    operator.post(&products, json!({"name": "pump"})).await?.json(201)?;
    operator.post(&format!("{products}/pump/groups"), json!({"name": "field"})).await?.json(201)?;
    Ok(())
}

/// Somebody with a role in a catalog.
pub(crate) async fn member(
    site: &Site,
    administrator: &Client,
    catalog: &str,
    who: &str,
    role: &str,
) -> Result<Client> {
    let path = format!("/v1/catalogs/{catalog}/invitations");
    let invitation = administrator.post(&path, json!({"subject": who, "role": role})).await?.json(201)?;
    redeem(site, &text(&invitation["code"])?).await
}

/// A device with a TPM that the stand-in takes for one.
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) claim_code: Option<String>,
    ek: Vec<u8>,
    ak: Vec<u8>,
    key: KeyPair,
}

impl Device {
    /// Enrols.
    pub(crate) async fn enrol(client: &Client, name: &str) -> Result<Self> {
        let (ek, ak) = (format!("ek {name}").into_bytes(), format!("ak {name}").into_bytes());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut device = Self { id: secrets::sha256(&ek), claim_code: None, ek, ak, key };
        let enrolled = device.enrol_again(client).await?.json(200)?;
        assert_eq!(enrolled["device"], device.id.as_str());
        device.claim_code = enrolled["claim_code"].as_str().map(str::to_owned);
        Ok(device)
    }

    pub(crate) async fn enrol_again(&self, client: &Client) -> Result<Answer> {
        let new = json!({"ek_public": b64(&self.ek), "ak_public": b64(&self.ak)});
        let challenge = client.post("/device/v1/enrolments", new).await?.json(201)?;
        let path = format!("/device/v1/enrolments/{}", text(&challenge["enrolment"])?);
        client.post(&path, json!({"secret": challenge["credential_blob"]})).await
    }

    /// Enrols, and is claimed.
    pub(crate) async fn claimed(site: &Site, name: &str, owner: &Client, catalog: &str) -> Result<Self> {
        let device = Self::enrol(&site.client()?, name).await?;
        let code = device.claim_code.clone().context("a code")?;
        device.claim(owner, catalog, &code).await?.json(201)?;
        Ok(device)
    }

    pub(crate) async fn claim(&self, owner: &Client, catalog: &str, proof: &str) -> Result<Answer> {
        let claim = json!({"device": self.id, "proof": proof, "product": "pump", "group": "field"});
        owner.post(&format!("/v1/catalogs/{catalog}/claims"), claim).await
    }

    pub(crate) async fn nonce(&self, client: &Client) -> Result<Value> {
        let nonce = client.post("/device/v1/nonces", json!({"device": self.id})).await?.json(201)?;
        Ok(nonce["nonce"].clone())
    }

    /// Evidence over a nonce.
    pub(crate) fn evidence(&self, nonce: &Value, boot_log: &[u8]) -> Result<Value> {
        let quote = secrets::sha256(&[&self.ak[..], &unb64(nonce)?].concat());
        let request = |subject: &str| {
            let key = b64(&self.key.subject_public_key_info());
            json!({"subject": subject, "csr": "", "key_public": key, "certify": "", "certify_signature": ""})
        };
        Ok(json!({
            "device": self.id, "nonce": nonce, "quote": b64(quote.as_bytes()), "signature": "",
            "pcrs": {"0": "", "11": ""}, "boot_log": b64(boot_log), "package_log": "",
            "requests": [request("device"), request("org.example.pump")],
        }))
    }

    /// A round.
    pub(crate) async fn attest(&self, client: &Client, boot_log: &[u8]) -> Result<Answer> {
        let nonce = self.nonce(client).await?;
        client.post("/device/v1/attestations", self.evidence(&nonce, boot_log)?).await
    }

    /// A round that passes; the device with its certificate.
    pub(crate) async fn certified(&self, site: &Site) -> Result<Client> {
        let granted = self.attest(&site.client()?, b"good").await?.json(200)?;
        self.with_certificate(site.running.address, &site.root, &granted)?.at(site.began)
    }

    /// The device with the certificate it was granted.
    pub(crate) fn with_certificate(&self, at: SocketAddr, root: &[u8], granted: &Value) -> Result<Client> {
        let chain = granted["certificates"][0]["chain"].as_array().context("a chain")?;
        let chain = chain.iter().map(unb64).collect::<Result<Vec<_>>>()?;
        Client::new(at, root, Some((chain, self.key.serialize_der())))
    }
}

/// An error report.
pub(crate) fn report(detail: &str, count: u32) -> Value {
    let at = BEGIN + i64::from(count);
    json!({"os_version": "1.0", "app": "org.example.pump", "app_version": "2", "kind": "signal", "detail": detail,
        "count": count, "first": at, "last": at})
}
