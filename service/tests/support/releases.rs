//! Those who release: their keys, their folder, and what they send to the service.

use super::BEGIN;
use super::actors::{b64, text};
use super::client::Client;
use anyhow::{Context as _, Result};
use repository::Repository;
use repository::edit::{Beginning, Holders};
use repository::folder::Periods;
use repository::keys::{KeyFile, Signer};
use serde_json::{Value, json};
use service::secrets;
use std::num::NonZeroU32;
use std::path::Path;
use tuf::custom::{Custom, Kind};
use tuf::key::Key;

pub(crate) const ANSWER: &str = "application/octet-stream";

/// The folder and the keys: of root and targets, of the system, of the apps of catalog `one`.
pub(crate) struct Releaser {
    folder: tempfile::TempDir,
    keys: Vec<(KeyFile, Signer)>,
}

impl Releaser {
    /// Makes a repository with the service's own key in it, and publishes it in catalog `one`.
    pub(crate) async fn begin(operator: &Client) -> Result<Self> {
        let online = operator.send("POST", "/v1/updates/keys", None).await?.json(201)?;
        let online = Key::ed25519(&secrets::unhex(&text(&online["public"])?).context("hexadecimal")?);
        let key = |_| {
            let file = KeyFile::make("passphrase", NonZeroU32::MIN)?;
            let signer = file.open("passphrase", Path::new("key"))?;
            anyhow::Ok((file, signer))
        };
        let keys = (0..3).map(key).collect::<Result<Vec<_>>>()?;
        let folder = tempfile::tempdir()?;
        let held = |key: &Key| Holders { keys: vec![key.clone()], threshold: 1 };
        let begin = Beginning {
            root: held(&keys[0].0.public),
            targets: held(&keys[0].0.public),
            snapshot: held(&online),
            timestamp: held(&online),
            os: held(&keys[1].0.public),
        };
        let made = Repository::init(folder.path(), Periods::default(), &begin, BEGIN)?;
        made.delegate("apps-one", "apps/one", &held(&keys[2].0.public))?;
        let releaser = Self { folder, keys };
        releaser.sign()?;
        releaser.publish(operator, &["root", "targets", "os", "apps-one"], json!([])).await?.json(201)?;
        Ok(releaser)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn repository(&self) -> Result<Repository> {
        Ok(Repository::open(self.path(), BEGIN)?)
    }

    /// Signs all that waits, by every key.
    pub(crate) fn sign(&self) -> Result<()> {
        for (_, signer) in &self.keys {
            let _nothing_for_this_key = self.repository()?.sign(signer, None);
        }
        Ok(())
    }

    /// A staged role as it is sent.
    pub(crate) fn staged(&self, role: &str) -> Result<Value> {
        let content = std::fs::read(self.path().join(format!("staged/{role}.json")))?;
        Ok(json!({"role": role, "content": b64(&content)}))
    }

    /// Sends staged roles.
    pub(crate) async fn publish(
        &self,
        client: &Client,
        roles: &[&str],
        documents: Value,
    ) -> Result<super::client::Answer> {
        let roles = roles.iter().map(|role| self.staged(role)).collect::<Result<Vec<_>>>()?;
        let body = json!({"roles": roles, "documents": documents});
        let answer = client.post("/v1/catalogs/one/updates", body).await?;
        if answer.status == 201 {
            self.receive(client, &answer.json(201)?).await?;
        }
        Ok(answer)
    }

    /// Takes in what was published, root first.
    async fn receive(&self, client: &Client, published: &Value) -> Result<()> {
        let roles: Vec<&Value> = published["roles"].as_array().into_iter().flatten().collect();
        let rank =
            |role: &&Value| ["root", "targets"].iter().position(|first| role["role"] == *first).unwrap_or(2);
        let mut roles = roles;
        roles.sort_by_key(rank);
        for role in roles {
            let (name, version) =
                (text(&role["role"])?, role["version"].as_u64().filter(|_| role["role"] != "timestamp"));
            let file = tuf::name::published(&name, version);
            let content = client.get(&format!("/updates/v1/metadata/{file}")).await?.body;
            self.repository()?.received(&name, version, &content)?;
        }
        Ok(())
    }

    /// A release's document, of which every blob is in the catalog's store.
    pub(crate) async fn document(&self, client: &Client, target: &str) -> Result<Vec<u8>> {
        let bytes = format!("an index of {target}").into_bytes();
        let sha256 = secrets::sha256(&bytes);
        let path = format!("/v1/catalogs/one/artefacts/{sha256}");
        client.raw("PUT", &path, ANSWER, Some(&bytes)).await?.json(201)?;
        let blob = json!({"sha256": sha256, "length": bytes.len()});
        let image = |role: &str| {
            let mut image = json!({"role": role, "content": {"sha256": secrets::sha256(role.as_bytes()), "length": 4096},
                "offers": [{"index": blob, "body": blob}]});
            if role != "kernel" {
                image["verity"] = json!("data_blocks=1");
            }
            image
        };
        let parts: Vec<&str> = target.split('/').collect();
        let version = parts[parts.len() - 1].trim_end_matches(".json");
        let document = match parts.as_slice() {
            ["os", product, _] => json!({"what": {"os": product}, "version": version,
                "images": [image("root"), image("kernel")]}),
            ["apps", _, app, _] => json!({"what": {"app": app}, "version": version, "images": [image("app")],
                "manifest": blob}),
            _ => anyhow::bail!("{target} is no release"),
        };
        Ok(document.to_string().into_bytes())
    }

    /// Takes a document into its role, which is signed.
    pub(crate) fn add(&self, target: &str, document: &[u8]) -> Result<String> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), document)?;
        let custom = Custom {
            kind: if target.starts_with("os/") { Kind::Os } else { Kind::App },
            product: None,
            app: None,
            version: "1".to_owned(),
            floor: None,
            root_hash: None,
            reference: None,
            blocks: None,
            from: None,
            rest: Default::default(),
        };
        let role = self.repository()?.add(target, file.path(), &custom)?;
        self.sign()?;
        Ok(role)
    }

    /// Publishes a release.
    pub(crate) async fn release(&self, client: &Client, target: &str) -> Result<()> {
        let document = self.document(client, target).await?;
        let role = self.add(target, &document)?;
        let documents = json!([{"target": target, "content": b64(&document)}]);
        self.publish(client, &[&role], documents).await?.json(201)?;
        Ok(())
    }
}
