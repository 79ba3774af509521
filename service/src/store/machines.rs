//! Machines, known by the digest of the certificate they present.

use super::checked;
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use service_api::people::{Machine, NewMachine, Role};
use service_api::{Bytes, Name};
use sqlx::AnyConnection;

/// Registers a machine. A certificate names one machine of one catalog.
///
/// # Errors
/// There is one of that name, or with that certificate.
pub async fn add(connection: &mut AnyConnection, catalog: &Name, new: &NewMachine) -> Result<(), Refusal> {
    sqlx::query("INSERT INTO machine (catalog, name, role, certificate) VALUES ($1, $2, $3, $4)")
        .bind(catalog.as_str())
        .bind(new.name.as_str())
        .bind(new.role.as_str())
        .bind(secrets::hex(new.certificate_sha256.as_slice()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets a machine.
///
/// # Errors
/// There is none.
pub async fn remove(connection: &mut AnyConnection, catalog: &Name, name: &Name) -> Result<(), Refusal> {
    let gone = sqlx::query("DELETE FROM machine WHERE catalog = $1 AND name = $2")
        .bind(catalog.as_str())
        .bind(name.as_str())
        .execute(connection)
        .await?;
    if gone.rows_affected() == 0 { Err(Refusal::new(Kind::Missing, "no such machine")) } else { Ok(()) }
}

/// The catalog's machines.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut AnyConnection, catalog: &Name) -> Result<Vec<Machine>, Refusal> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT name, role, certificate FROM machine WHERE catalog = $1 ORDER BY name")
            .bind(catalog.as_str())
            .fetch_all(connection)
            .await?;
    let machine = |(name, role, certificate): (String, String, String)| {
        Ok(Machine {
            name: checked(name)?,
            role: Role::from_word(&role).ok_or_else(super::damaged)?,
            certificate_sha256: secrets::unhex(&certificate)
                .and_then(Bytes::new)
                .ok_or_else(super::damaged)?,
        })
    };
    rows.into_iter().map(machine).collect()
}

/// The machine that presents this certificate, with its catalog.
///
/// # Errors
/// What the database said.
pub async fn by_certificate(
    connection: &mut AnyConnection,
    sha256: &str,
) -> Result<Option<(Name, Name, Role)>, Refusal> {
    let found: Option<(String, String, String)> =
        sqlx::query_as("SELECT catalog, name, role FROM machine WHERE certificate = $1")
            .bind(sha256.to_owned())
            .fetch_optional(connection)
            .await?;
    let machine = |(catalog, name, role): (String, String, String)| {
        Ok((checked(catalog)?, checked(name)?, Role::from_word(&role).ok_or_else(super::damaged)?))
    };
    found.map(machine).transpose()
}
