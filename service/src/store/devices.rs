//! Devices: enrolments that are open, who owns which device, what was made of its evidence, its certificates.

use super::audit::{self, Change};
use super::deployments::{self, Asker, Turn};
use super::{checked, time};
use crate::refusal::{Kind, Refusal};
use evidence::tpm::Clock;
use serde_json::{Value, json};
use service_api::device::NewEnrolment;
use service_api::fleet::{
    Device, DeviceFilter, DeviceState, GroupPolicy, IssuedCertificate, NewClaim, Page, Placement,
};
use service_api::records::Verdict;
use service_api::{Bytes, DeviceId, Name};
use sqlx::AnyConnection;
use std::collections::BTreeSet;

/// Open enrolments of all devices together.
const ENROLMENTS_MAX: i64 = 10_000;
/// Devices that nobody owns yet. They end by themselves, see [`super::Store::tidy`].
const UNCLAIMED_MAX: i64 = 200_000;

/// Opens an enrolment.
///
/// # Errors
/// Too many are open.
pub async fn open_enrolment(
    connection: &mut AnyConnection,
    id: &str,
    device: &DeviceId,
    new: &NewEnrolment,
    secret: &str,
    expires: i64,
) -> Result<(), Refusal> {
    let made = sqlx::query(
        "INSERT INTO enrolment (id, device, ek_public, ek_certificate, ak_public, secret, expires)
         SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT COUNT(*) FROM enrolment) < $8",
    )
    .bind(id.to_owned())
    .bind(device.as_str())
    .bind(new.ek_public.as_slice().to_vec())
    .bind(new.ek_certificate.as_ref().map(|certificate| certificate.as_slice().to_vec()))
    .bind(new.ak_public.as_slice().to_vec())
    .bind(secret.to_owned())
    .bind(expires)
    .bind(ENROLMENTS_MAX)
    .execute(connection)
    .await?;
    if made.rows_affected() == 0 {
        Err(Refusal::new(Kind::TooMany, "too many enrolments are open"))
    } else {
        Ok(())
    }
}

/// Uses an enrolment up; with the right secret the device is known from now on. None: not the right one, or too late.
///
/// Comes back with the device, and whether nobody owns it, so that the claim code is good.
///
/// # Errors
/// Too many devices that nobody owns.
pub async fn finish_enrolment(
    connection: &mut AnyConnection,
    id: &str,
    secret: &str,
    claim_code: &str,
    now: i64,
) -> Result<Option<(DeviceId, bool)>, Refusal> {
    type Row = (String, Vec<u8>, Option<Vec<u8>>, Vec<u8>, String, i64);
    let found: Option<Row> = sqlx::query_as(
        "DELETE FROM enrolment WHERE id = $1
         RETURNING device, ek_public, ek_certificate, ak_public, secret, expires",
    )
    .bind(id.to_owned())
    .fetch_optional(&mut *connection)
    .await?;
    // Digests of random secrets: how long the comparison takes tells nothing that helps.
    let Some((device, ek_public, ek_certificate, ak_public, kept, expires)) = found else { return Ok(None) };
    if kept != secret || expires <= now {
        return Ok(None);
    }
    let row: Option<(i64,)> = sqlx::query_as(
        "INSERT INTO device (id, ek_public, ek_certificate, ak_public, enrolled, claim_code, state)
         SELECT $1, $2, $3, $4, $5, $6, 'active'
         WHERE (SELECT COUNT(*) FROM device WHERE catalog IS NULL) < $7
            OR EXISTS (SELECT 1 FROM device WHERE id = $1)
         ON CONFLICT (id) DO UPDATE SET ak_public = excluded.ak_public, ek_certificate = excluded.ek_certificate,
            claim_code = CASE WHEN device.catalog IS NULL THEN excluded.claim_code ELSE NULL END
         RETURNING CASE WHEN catalog IS NULL THEN 1 ELSE 0 END",
    )
    .bind(device.clone())
    .bind(ek_public)
    .bind(ek_certificate)
    .bind(ak_public)
    .bind(now)
    .bind(claim_code.to_owned())
    .bind(UNCLAIMED_MAX)
    .fetch_optional(&mut *connection)
    .await?;
    let (free,) = row.ok_or_else(|| Refusal::new(Kind::TooMany, "too many devices wait for an owner"))?;
    let device: DeviceId = checked(device)?;
    let catalog = catalog_of(connection, &device).await?;
    let change = Change {
        at: now,
        catalog: catalog.as_ref(),
        who: &format!("device.{device}"),
        action: "device.enrol",
        object: format!("devices/{device}"),
        before: None,
        after: None,
    };
    audit::note(connection, change).await?;
    Ok(Some((device, free == 1)))
}

async fn catalog_of(connection: &mut AnyConnection, device: &DeviceId) -> Result<Option<Name>, Refusal> {
    let found: Option<(Option<String>,)> = sqlx::query_as("SELECT catalog FROM device WHERE id = $1")
        .bind(device.as_str())
        .fetch_optional(connection)
        .await?;
    found.and_then(|(catalog,)| catalog).map(checked).transpose()
}

/// What is needed to look at a device's evidence.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its endorsement key.
    pub ek_public: Vec<u8>,
    /// The key it attests with.
    pub ak_public: Vec<u8>,
    /// Its catalog.
    pub catalog: Name,
    /// Its product and group.
    pub place: Placement,
    /// What the group's devices must be.
    pub policy: GroupPolicy,
    /// What its TPM said of its resets and its clock when it last passed.
    pub clock: Option<Clock>,
    /// The catalog's releases, and whether each is withdrawn.
    pub releases: Vec<(Name, bool)>,
}

/// A device that may attest: known, owned and not revoked.
///
/// # Errors
/// Which of them it is not.
pub async fn known(connection: &mut AnyConnection, device: &DeviceId) -> Result<Known, Refusal> {
    type Text = Option<String>;
    type Count = Option<i64>;
    type Row = (Vec<u8>, Vec<u8>, Text, Text, Text, String, Text, Count, Count, Count, String);
    let found: Option<Row> = sqlx::query_as(
        "SELECT device.ek_public, device.ak_public, device.catalog, device.product, device.device_group, device.state,
                device_group.policy, device.tpm_resets, device.tpm_restarts, device.tpm_clock,
                COALESCE((SELECT string_agg(release.name || ' ' || release.withdrawn, ',')
                    FROM release WHERE release.catalog = device.catalog), '')
         FROM device LEFT JOIN device_group ON device_group.catalog = device.catalog
              AND device_group.product = device.product AND device_group.name = device.device_group
         WHERE device.id = $1",
    )
    .bind(device.as_str())
    .fetch_optional(connection)
    .await?;
    // What a device does about each of these differs: by the kind it enrols again, or shows its claim code.
    let row = found.ok_or_else(|| Refusal::new(Kind::Missing, "the device is not enrolled"))?;
    let (ek_public, ak_public, catalog, product, group, state, policy, resets, restarts, clock_ms, releases) =
        row;
    let (Some(catalog), Some(product), Some(group), Some(policy)) = (catalog, product, group, policy) else {
        return Err(Refusal::new(Kind::Unclaimed, "nobody has claimed the device"));
    };
    if DeviceState::from_word(&state) != Some(DeviceState::Active) {
        return Err(Refusal::new(Kind::Revoked, "the device is revoked"));
    }
    Ok(Known {
        ek_public,
        ak_public,
        catalog: checked(catalog)?,
        place: Placement { product: checked(product)?, group: checked(group)? },
        policy: serde_json::from_str(&policy).map_err(|_| super::damaged())?,
        clock: clock(resets, restarts, clock_ms)?,
        releases: releases.split_terminator(',').map(release_state).collect::<Result<_, _>>()?,
    })
}

fn clock(
    resets: Option<i64>,
    restarts: Option<i64>,
    clock_ms: Option<i64>,
) -> Result<Option<Clock>, Refusal> {
    let (Some(resets), Some(restarts), Some(clock_ms)) = (resets, restarts, clock_ms) else {
        return Ok(None);
    };
    let count = |count: i64| u32::try_from(count).map_err(|_| super::damaged());
    let (resets, restarts) = (count(resets)?, count(restarts)?);
    Ok(Some(Clock { clock_ms: time(clock_ms), resets, restarts, safe: true }))
}

/// A name, which has no space in it, and whether that release is withdrawn.
fn release_state(text: &str) -> Result<(Name, bool), Refusal> {
    let (name, withdrawn) = text.split_once(' ').ok_or_else(super::damaged)?;
    Ok((checked(name.to_owned())?, withdrawn == "1"))
}

/// A certificate to be noted as issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Big endian.
    pub serial: Vec<u8>,
    /// `"device"` or the app.
    pub subject: String,
    /// Of the certificate, in hexadecimal.
    pub sha256: String,
    /// From when.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

/// A round of attestation to be noted.
#[derive(Clone, Debug)]
pub struct Round {
    /// Whose.
    pub device: DeviceId,
    /// The key that signed it.
    pub ak_public: Vec<u8>,
    /// The catalog the certificates are of.
    pub catalog: Name,
    /// The nonce, and when it ends.
    pub nonce: (String, i64),
    /// What was made of it.
    pub verdict: Verdict,
    /// What the TPM said of its resets and its clock.
    pub clock: Clock,
    /// What is given out.
    pub certificates: Vec<Issued>,
}

/// Notes a round. After this, and only then, its certificates may be given out.
///
/// # Errors
/// The nonce was used before; or the device was moved, revoked or enrolled anew since the evidence was looked at.
pub async fn note_round(connection: &mut AnyConnection, round: &Round) -> Result<(), Refusal> {
    let fresh = sqlx::query("INSERT INTO used_nonce (nonce, expires) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(round.nonce.0.clone())
        .bind(round.nonce.1)
        .execute(&mut *connection)
        .await?;
    if fresh.rows_affected() == 0 {
        return Err(Refusal::new(Kind::Untrusted, "the nonce was used before"));
    }
    let verdict = serde_json::to_string(&round.verdict);
    let noted = sqlx::query(
        "UPDATE device SET attested = $1, passed = $2, running = $3, verdict = $4,
                tpm_resets = CASE WHEN $2 = 1 THEN $8 ELSE tpm_resets END,
                tpm_restarts = CASE WHEN $2 = 1 THEN $9 ELSE tpm_restarts END,
                tpm_clock = CASE WHEN $2 = 1 THEN $10 ELSE tpm_clock END
         WHERE id = $5 AND catalog = $6 AND state = 'active' AND ak_public = $7",
    )
    .bind(super::whole(round.verdict.at)?)
    .bind(i64::from(round.verdict.passed))
    .bind(round.verdict.release.as_ref().map(|release| release.as_str().to_owned()))
    .bind(verdict.map_err(|_| Refusal::unavailable("the verdict could not be written"))?)
    .bind(round.device.as_str())
    .bind(round.catalog.as_str())
    .bind(round.ak_public.clone())
    .bind(i64::from(round.clock.resets))
    .bind(i64::from(round.clock.restarts))
    .bind(i64::try_from(round.clock.clock_ms).unwrap_or(i64::MAX))
    .execute(&mut *connection)
    .await?;
    if noted.rows_affected() == 0 {
        return Err(Refusal::new(
            Kind::Untrusted,
            "the device was moved, revoked or enrolled anew meanwhile",
        ));
    }
    for certificate in &round.certificates {
        sqlx::query(
            "INSERT INTO certificate (serial, catalog, device, subject, not_before, not_after, sha256)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(serial_text(&certificate.serial)?)
        .bind(round.catalog.as_str())
        .bind(round.device.as_str())
        .bind(certificate.subject.clone())
        .bind(certificate.not_before)
        .bind(certificate.not_after)
        .bind(certificate.sha256.clone())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn serial_text(serial: &[u8]) -> Result<String, Refusal> {
    let serial =
        Bytes::<20>::new(serial).ok_or_else(|| Refusal::unavailable("a serial number is too long"))?;
    Ok(serial.encode())
}

/// Takes a device into a catalog. Comes back with the catalog it leaves, whose certificates for it are revoked.
///
/// # Errors
/// The proof is not good for this device, or there is no such group.
pub async fn claim(
    connection: &mut AnyConnection,
    catalog: &Name,
    claim: &NewClaim,
    proof: &str,
    who: &str,
    now: i64,
) -> Result<Option<Name>, Refusal> {
    // Groups are asked for first, so that a wrong one does not use the proof up with a message about keys.
    super::fleet::group(connection, catalog, &claim.product, &claim.group).await?;
    // Nobody makes a deployment of either catalog meanwhile, which would count the device or not.
    let was = place_of(connection, &claim.device).await?.map(|asker| asker.catalog);
    for catalog in BTreeSet::from_iter(was.iter().chain([catalog])) {
        super::fleet::lock(connection, catalog).await?;
    }
    hold(connection, &claim.device).await?;
    let before = place_of(connection, &claim.device).await?;
    let taken = sqlx::query(
        "UPDATE device SET catalog = $1, product = $2, device_group = $3, claim_code = NULL, transfer = NULL,
                transfer_expires = NULL, attested = NULL, passed = NULL, running = NULL, verdict = NULL,
                tpm_resets = NULL, tpm_restarts = NULL, tpm_clock = NULL, asked = NULL, runs = NULL
         WHERE id = $4 AND state = 'active' AND ((catalog IS NULL AND claim_code = $5)
            OR (catalog <> $1 AND transfer = $5 AND transfer_expires > $6))",
    )
    .bind(catalog.as_str())
    .bind(claim.product.as_str())
    .bind(claim.group.as_str())
    .bind(claim.device.as_str())
    .bind(proof.to_owned())
    .bind(now)
    .execute(&mut *connection)
    .await?;
    if taken.rows_affected() == 0 {
        let reason = "the proof is not good for this device: it is the code that the device shows, or its owner's \
                      transfer token";
        return Err(Refusal::new(Kind::Untrusted, reason));
    }
    let place = Placement { product: claim.product.clone(), group: claim.group.clone() };
    let comes = Asker { device: claim.device.clone(), catalog: catalog.clone(), place };
    let leaves = before.iter().map(|asker| (asker.clone(), Turn::Leaves));
    deployments::regroup(connection, &leaves.chain([(comes, Turn::Comes)]).collect::<Vec<_>>(), now).await?;
    let before = before.map(|asker| asker.catalog);
    revoke_certificates(connection, &claim.device, now).await?;
    super::escrow::forget(connection, &claim.device).await?;
    super::permits::end(connection, &claim.device, now).await?;
    super::orders::forget(connection, &claim.device).await?;
    super::updates::stir_device(connection, claim.device.as_str()).await?;
    let object = format!("devices/{}", claim.device);
    let after = json!({"catalog": catalog, "product": claim.product, "group": claim.group});
    let (action, after) = ("device.claim", Some(after));
    let mut change = Change { at: now, catalog: Some(catalog), who, action, object, before: None, after };
    change.before = before.as_ref().map(|catalog| json!({"catalog": catalog}));
    audit::note(connection, change.clone()).await?;
    if let Some(left) = &before {
        let after = Some(json!({"catalog": catalog}));
        audit::note(connection, Change { catalog: Some(left), action: "device.leave", after, ..change })
            .await?;
    }
    Ok(before)
}

/// Where a device is, if it is anybody's.
async fn place_of(connection: &mut AnyConnection, device: &DeviceId) -> Result<Option<Asker>, Refusal> {
    let found: Option<(Option<String>, Option<String>, Option<String>)> =
        sqlx::query_as("SELECT catalog, product, device_group FROM device WHERE id = $1")
            .bind(device.as_str())
            .fetch_optional(connection)
            .await?;
    let Some((Some(catalog), Some(product), Some(group))) = found else { return Ok(None) };
    let place = Placement { product: checked(product)?, group: checked(group)? };
    Ok(Some(Asker { device: device.clone(), catalog: checked(catalog)?, place }))
}

/// Keeps others from changing the device until this transaction ends.
pub(super) async fn hold(connection: &mut AnyConnection, device: &DeviceId) -> Result<(), Refusal> {
    sqlx::query("UPDATE device SET state = state WHERE id = $1")
        .bind(device.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn revoke_certificates(
    connection: &mut AnyConnection,
    device: &DeviceId,
    now: i64,
) -> Result<(), Refusal> {
    sqlx::query(
        "UPDATE certificate SET revoked = $2 WHERE device = $1 AND revoked IS NULL AND not_after > $2",
    )
    .bind(device.as_str())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// What an owner does to a device.
#[derive(Clone, Debug)]
pub enum Act {
    /// Lets the bearer of a token (its digest, and when it ends) take it over.
    Offer(String, i64),
    /// Takes that back.
    CancelOffer,
    /// Gives it up: whoever the device then shows its next code may claim it.
    Release,
    /// Puts it elsewhere in the catalog. Its certificates say where it belongs, so they are revoked.
    Move(Placement),
    /// Takes its certificates away, and grants no more.
    Revoke,
    /// Grants again.
    Reinstate,
}

/// Does it to a device of the catalog, and notes it.
///
/// # Errors
/// There is no such device in the catalog, or what is asked does not fit its state.
pub async fn act(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
    act: &Act,
    who: &str,
    now: i64,
) -> Result<(), Refusal> {
    // As in `claim`.
    super::fleet::lock(connection, catalog).await?;
    hold(connection, device).await?;
    let before = show(connection, catalog, device).await?;
    let state = |state: DeviceState| Some(json!({"state": state}));
    let (action, was, is): (_, Option<Value>, Option<Value>) = match act {
        Act::Offer(..) if before.state == DeviceState::Revoked => {
            return Err(Refusal::new(Kind::Conflict, "the device is revoked"));
        }
        Act::Offer(_, expires) => ("device.offer", None, Some(json!({"expires": expires}))),
        Act::CancelOffer => ("device.offer-cancel", None, None),
        Act::Release => ("device.release", Some(json!(before)), None),
        Act::Move(place) => {
            super::fleet::group(connection, catalog, &place.product, &place.group).await?;
            (
                "device.move",
                Some(json!({"product": before.product, "group": before.group})),
                Some(json!(place)),
            )
        }
        Act::Revoke => ("device.revoke", state(before.state), state(DeviceState::Revoked)),
        Act::Reinstate => ("device.reinstate", state(before.state), state(DeviceState::Active)),
    };
    apply(connection, device, act).await?;
    deployments::regroup(connection, &turns(catalog, &before, act), now).await?;
    // What it is meant to run changes, or it is to hear that it is nobody's.
    if matches!(act, Act::Move(_) | Act::Release | Act::Revoke) {
        super::updates::stir_device(connection, device.as_str()).await?;
    }
    if matches!(act, Act::Release | Act::Move(_) | Act::Revoke) {
        revoke_certificates(connection, device, now).await?;
    }
    if matches!(act, Act::Release) {
        super::escrow::forget(connection, device).await?;
    }
    if matches!(act, Act::Release | Act::Revoke) {
        super::permits::end(connection, device, now).await?;
        super::orders::forget(connection, device).await?;
    }
    let object = format!("devices/{device}");
    audit::note(
        connection,
        Change { at: now, catalog: Some(catalog), who, action, object, before: was, after: is },
    )
    .await
}

/// Which groups it leaves and comes to by that. A device that is revoked is in none: nobody waits for it.
fn turns(catalog: &Name, before: &Device, act: &Act) -> Vec<(Asker, Turn)> {
    let was = Placement { product: before.product.clone(), group: before.group.clone() };
    let at = |place: &Placement| Asker {
        device: before.device.clone(),
        catalog: catalog.clone(),
        place: place.clone(),
    };
    match (act, before.state) {
        (Act::Move(place), DeviceState::Active) if *place != was => {
            vec![(at(&was), Turn::Leaves), (at(place), Turn::Comes)]
        }
        (Act::Release | Act::Revoke, DeviceState::Active) => vec![(at(&was), Turn::Leaves)],
        (Act::Reinstate, DeviceState::Revoked) => vec![(at(&was), Turn::Comes)],
        _ => Vec::new(),
    }
}

async fn apply(connection: &mut AnyConnection, device: &DeviceId, act: &Act) -> Result<(), Refusal> {
    let query = match act {
        Act::Offer(token, expires) => {
            sqlx::query("UPDATE device SET transfer = $2, transfer_expires = $3 WHERE id = $1")
                .bind(device.as_str())
                .bind(token.clone())
                .bind(*expires)
        }
        Act::CancelOffer => {
            sqlx::query("UPDATE device SET transfer = NULL, transfer_expires = NULL WHERE id = $1")
                .bind(device.as_str())
        }
        Act::Release => sqlx::query(
            "UPDATE device SET catalog = NULL, product = NULL, device_group = NULL, claim_code = NULL,
                    transfer = NULL, transfer_expires = NULL, attested = NULL, passed = NULL, running = NULL,
                    verdict = NULL, state = 'active' WHERE id = $1",
        )
        .bind(device.as_str()),
        Act::Move(place) => sqlx::query("UPDATE device SET product = $2, device_group = $3 WHERE id = $1")
            .bind(device.as_str())
            .bind(place.product.as_str())
            .bind(place.group.as_str()),
        Act::Revoke => sqlx::query(
            "UPDATE device SET state = 'revoked', transfer = NULL, transfer_expires = NULL WHERE id = $1",
        )
        .bind(device.as_str()),
        // A TPM that was cleared counts from the beginning: that it may, somebody has said.
        Act::Reinstate => sqlx::query(
            "UPDATE device SET state = 'active', tpm_resets = NULL, tpm_restarts = NULL, tpm_clock = NULL
             WHERE id = $1",
        )
        .bind(device.as_str()),
    };
    query.execute(connection).await?;
    Ok(())
}

type DeviceRow =
    (String, Option<String>, Option<String>, String, i64, Option<i64>, Option<i64>, Option<String>);

fn device_of(row: DeviceRow) -> Result<Device, Refusal> {
    let (id, product, group, state, enrolled, attested, passed, running) = row;
    Ok(Device {
        device: checked(id)?,
        product: checked(product.ok_or_else(super::damaged)?)?,
        group: checked(group.ok_or_else(super::damaged)?)?,
        state: DeviceState::from_word(&state).ok_or_else(super::damaged)?,
        enrolled: time(enrolled),
        attested: attested.map(time),
        passed: passed.map(|passed| passed == 1),
        release: running.map(checked).transpose()?,
    })
}

/// A device of the catalog.
///
/// # Errors
/// There is none of this id in the catalog.
pub async fn show(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
) -> Result<Device, Refusal> {
    let found: Option<DeviceRow> = sqlx::query_as(
        "SELECT id, product, device_group, state, enrolled, attested, passed, running FROM device
         WHERE id = $1 AND catalog = $2",
    )
    .bind(device.as_str())
    .bind(catalog.as_str())
    .fetch_optional(connection)
    .await?;
    device_of(found.ok_or_else(|| Refusal::missing("such device"))?)
}

/// The catalog's devices, by id.
///
/// # Errors
/// What the database said.
pub async fn list(
    connection: &mut AnyConnection,
    catalog: &Name,
    filter: &DeviceFilter,
) -> Result<Page<Device>, Refusal> {
    let limit = super::limit(filter.limit, 100, 1000)?;
    let name = |name: &Option<Name>| name.as_ref().map_or(String::new(), |name| name.as_str().to_owned());
    let rows: Vec<DeviceRow> = sqlx::query_as(
        "SELECT id, product, device_group, state, enrolled, attested, passed, running FROM device
         WHERE catalog = $1 AND id > $2 AND ($3 = '' OR product = $3) AND ($4 = '' OR device_group = $4)
           AND ($5 = '' OR state = $5) AND ($6 < 0 OR passed = $6)
         ORDER BY id LIMIT $7",
    )
    .bind(catalog.as_str())
    .bind(filter.after.as_ref().map_or("", |id| id.as_str()))
    .bind(name(&filter.product))
    .bind(name(&filter.group))
    .bind(filter.state.map_or("", DeviceState::as_str))
    .bind(filter.passed.map_or(-1, i64::from))
    .bind(limit + 1)
    .fetch_all(connection)
    .await?;
    super::page(rows, limit, device_of)
}

/// What was made of the device's last evidence.
///
/// # Errors
/// There is no such device in the catalog, or it never attested.
pub async fn verdict(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
) -> Result<Verdict, Refusal> {
    let found: Option<(Option<String>,)> =
        sqlx::query_as("SELECT verdict FROM device WHERE id = $1 AND catalog = $2")
            .bind(device.as_str())
            .bind(catalog.as_str())
            .fetch_optional(connection)
            .await?;
    let (text,) = found.ok_or_else(|| Refusal::missing("such device"))?;
    let text =
        text.ok_or_else(|| Refusal::new(Kind::Missing, "the device has not attested to this catalog"))?;
    serde_json::from_str(&text).map_err(|_| super::damaged())
}

/// The device's certificates of this catalog, newest first, at most 500.
///
/// # Errors
/// There is no such device in the catalog.
pub async fn certificates(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
) -> Result<Vec<IssuedCertificate>, Refusal> {
    show(connection, catalog, device).await?;
    let rows: Vec<(String, String, i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT serial, subject, not_before, not_after, revoked FROM certificate
         WHERE device = $1 AND catalog = $2 ORDER BY not_after DESC, serial LIMIT 500",
    )
    .bind(device.as_str())
    .bind(catalog.as_str())
    .fetch_all(connection)
    .await?;
    let issued =
        |(serial, subject, not_before, not_after, revoked): (String, String, i64, i64, Option<i64>)| {
            Ok(IssuedCertificate {
                serial: Bytes::decode(&serial).ok_or_else(super::damaged)?,
                subject,
                not_before: time(not_before),
                not_after: time(not_after),
                revoked: revoked.map(time),
            })
        };
    rows.into_iter().map(issued).collect()
}

/// Serial numbers that the catalog's authority revoked and that have not ended, with when.
///
/// # Errors
/// What the database said.
pub async fn revoked(
    connection: &mut AnyConnection,
    catalog: &Name,
    now: i64,
) -> Result<Vec<(Vec<u8>, i64)>, Refusal> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT serial, revoked FROM certificate
         WHERE catalog = $1 AND revoked IS NOT NULL AND not_after > $2 ORDER BY serial",
    )
    .bind(catalog.as_str())
    .bind(now)
    .fetch_all(connection)
    .await?;
    let serial = |(serial, revoked): (String, i64)| {
        Ok((Bytes::<20>::decode(&serial).ok_or_else(super::damaged)?.into_vec(), revoked))
    };
    rows.into_iter().map(serial).collect()
}

/// The device that presents a certificate, by the certificate's SHA-256 in hexadecimal: one that this service issued for
/// the device itself, that has not ended and is not revoked, of the catalog that still owns it.
///
/// # Errors
/// What the database said.
pub async fn by_certificate(
    connection: &mut AnyConnection,
    sha256: &str,
    now: i64,
) -> Result<Option<(DeviceId, Name, Placement)>, Refusal> {
    let found: Option<(String, String, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT device.id, certificate.catalog, device.product, device.device_group
         FROM certificate JOIN device ON device.id = certificate.device AND device.catalog = certificate.catalog
         WHERE certificate.sha256 = $1 AND certificate.subject = 'device' AND certificate.revoked IS NULL
           AND certificate.not_before <= $2 AND certificate.not_after > $2 AND device.state = 'active'",
    )
    .bind(sha256.to_owned())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    let Some((device, catalog, Some(product), Some(group))) = found else { return Ok(None) };
    let place = Placement { product: checked(product)?, group: checked(group)? };
    Ok(Some((checked(device)?, checked(catalog)?, place)))
}
