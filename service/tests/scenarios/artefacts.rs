//! Artefacts over HTTP. What the store itself does, in a folder and in S3, is tested in `tests/conformance`.

use crate::support::Site;
use crate::support::actors::{catalog, member, operator};
use anyhow::{Result, ensure};
use serde_json::json;
use service::secrets;

const KIND: &str = "application/octet-stream";

pub(crate) async fn artefact_is_put_by_its_digest_and_had_by_range(site: &Site) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    catalog(&operator, "two").await?;
    let reader = member(site, &operator, "one", "rita", "reader").await?;
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let sha256 = secrets::sha256(&bytes);
    let at = |catalog: &str, digest: &str| format!("/v1/catalogs/{catalog}/artefacts/{digest}");
    let path = at("one", &sha256);
    reader.raw("PUT", &path, KIND, Some(&bytes)).await?.refused(403)?;
    site.client()?.raw("PUT", &path, KIND, Some(&bytes)).await?.refused(401)?;
    let said = operator.raw("PUT", &path, KIND, Some(&bytes[1..])).await?.refused(400)?;
    ensure!(said.contains(&secrets::sha256(&bytes[1..])), "{said}");
    reader.get(&path).await?.refused(404)?;
    operator.raw("PUT", &at("one", "nothing"), KIND, Some(&bytes)).await?.refused(404)?;

    let put = operator.raw("PUT", &path, KIND, Some(&bytes)).await?.json(201)?;
    assert_eq!((&put["sha256"], &put["size"]), (&json!(sha256), &json!(100_000)));
    operator.raw("PUT", &path, KIND, Some(&bytes)).await?.json(201)?;
    let listed = reader.get("/v1/catalogs/one/artefacts").await?.json(200)?;
    assert_eq!(listed, json!({"items": [put], "more": false}));
    let log = operator.get("/v1/catalogs/one/audit?limit=1000").await?.json(200)?;
    assert_eq!(log.to_string().matches("artefact.put").count(), 1, "put again, it changed nothing");

    let whole = reader.get(&path).await?;
    ensure!(whole.status == 200 && whole.body == bytes, "{}", whole.head);
    let tag = format!("\"{sha256}\"");
    for (range, also, status, part) in [
        ("bytes=0-0", "", 206, 0..1),
        ("bytes=99990-", "", 206, 99_990..100_000),
        ("bytes=-5", tag.as_str(), 206, 99_995..100_000),
        ("bytes=10-19", "\"another\"", 200, 0..100_000),
        ("bytes=0-1,3-4", "", 200, 0..100_000),
    ] {
        let answer = reader.with_header("Range", range).with_header("If-Range", also).get(&path).await?;
        ensure!(answer.status == status && answer.body == bytes[part.clone()], "{range}: {}", answer.head);
        let said = format!("bytes {}-{}/100000", part.start, part.end - 1);
        assert_eq!(answer.head.contains(&said), status == 206, "{}", answer.head);
    }
    reader.with_header("Range", "bytes=100000-").get(&path).await?.refused(416)?;
    // Another catalog has none, and to whoever is of another this one does not exist.
    operator.get(&at("two", &sha256)).await?.refused(404)?;
    let stranger = member(site, &operator, "two", "theo", "administrator").await?;
    stranger.get(&path).await?.refused(404)?;
    stranger.raw("PUT", &path, KIND, Some(&bytes)).await?.refused(404)?;
    Ok(())
}
