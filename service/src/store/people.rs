//! People: invitations, sessions, members.

use super::audit::{self, Change};
use super::checked;
use crate::refusal::{Kind, Refusal};
use serde_json::json;
use service_api::people::{CatalogRole, Member, Role};
use service_api::{Name, Subject};
use sqlx::AnyConnection;

/// Sessions of one person; the one that ends first goes when there are more.
const SESSIONS_MAX: i64 = 20;

/// A person as a request comes from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub subject: Subject,
    /// Whether they may make catalogs.
    pub operator: bool,
    /// The session.
    pub session: String,
}

/// Digests of a session's tokens, and when they end.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Of the token.
    pub token: String,
    /// When it ends.
    pub token_expires: i64,
    /// Of the refresh token.
    pub refresh: String,
    /// When it ends.
    pub refresh_expires: i64,
}

/// Keeps the digest of a code that makes its bearer `subject`, with a role in a catalog; or, without one, the operator.
///
/// # Errors
/// What the database said.
pub async fn invite(
    connection: &mut AnyConnection,
    code: &str,
    subject: &Subject,
    place: Option<(&Name, Role)>,
    expires: i64,
) -> Result<(), Refusal> {
    sqlx::query("INSERT INTO invitation (code, catalog, subject, role, expires) VALUES ($1, $2, $3, $4, $5)")
        .bind(code.to_owned())
        .bind(place.map(|(catalog, _)| catalog.as_str().to_owned()))
        .bind(subject.as_str().to_owned())
        .bind(place.map(|(_, role)| role.as_str()))
        .bind(expires)
        .execute(connection)
        .await?;
    Ok(())
}

/// Invitations of a catalog that wait.
const INVITATIONS_MAX: i64 = 1_000;

/// Whether somebody may be invited into a catalog: a code makes its bearer the person it names, wherever that person has a
/// role. So a catalog invites only people that no other catalog has, and that are not the operator.
///
/// # Errors
/// Another has them, or too many are invited.
pub async fn may_be_invited(
    connection: &mut AnyConnection,
    catalog: &Name,
    subject: &Subject,
) -> Result<(), Refusal> {
    super::fleet::lock(connection, catalog).await?;
    only_here(connection, catalog, subject).await?;
    let (waiting,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM invitation WHERE catalog = $1")
        .bind(catalog.as_str())
        .fetch_one(connection)
        .await?;
    if waiting >= INVITATIONS_MAX {
        return Err(Refusal::new(Kind::Conflict, "too many invitations wait"));
    }
    Ok(())
}

/// Uses a code up, and begins a session for who it was made for.
///
/// # Errors
/// There is no such code any more.
pub async fn redeem(
    connection: &mut AnyConnection,
    code: &str,
    session: &str,
    tokens: &Tokens,
    now: i64,
) -> Result<Subject, Refusal> {
    let found: Option<(Option<String>, String, Option<String>)> = sqlx::query_as(
        "DELETE FROM invitation WHERE code = $1 AND expires > $2 RETURNING catalog, subject, role",
    )
    .bind(code.to_owned())
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    let unknown = || Refusal::new(Kind::Unauthenticated, "no such code; it was used, or it ended");
    let (catalog, subject, role) = found.ok_or_else(unknown)?;
    let subject: Subject = checked(subject)?;
    let operator = i64::from(catalog.is_none());
    sqlx::query(
        "INSERT INTO person (subject, operator, created) VALUES ($1, $2, $3)
         ON CONFLICT (subject) DO UPDATE SET
         operator = CASE WHEN excluded.operator = 1 THEN 1 ELSE person.operator END",
    )
    .bind(subject.as_str())
    .bind(operator)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let catalog: Option<Name> = catalog.map(checked).transpose()?;
    if let Some(catalog) = &catalog {
        // Two catalogs that invited the same new name at once: the first to come in has it, see `may_be_invited`.
        only_here(connection, catalog, &subject).await?;
    }
    if let (Some(catalog), Some(role)) = (&catalog, &role) {
        sqlx::query(
            "INSERT INTO member (catalog, subject, role) VALUES ($1, $2, $3)
             ON CONFLICT (catalog, subject) DO UPDATE SET role = excluded.role",
        )
        .bind(catalog.as_str())
        .bind(subject.as_str())
        .bind(role.clone())
        .execute(&mut *connection)
        .await?;
    }
    begin(connection, session, &subject, tokens).await?;
    let change = Change {
        at: now,
        catalog: catalog.as_ref(),
        who: subject.as_str(),
        action: "session.begin",
        object: format!("members/{subject}"),
        before: None,
        after: Some(json!({"role": role.as_deref().unwrap_or("operator")})),
    };
    audit::note(connection, change).await?;
    Ok(subject)
}

/// Begins a session for somebody whom the provider of sign-in named, if they were invited: an invitation that waits is taken
/// up by that. False: nobody invited them, or they are an operator, whom only a code makes.
///
/// # Errors
/// What the database said.
pub async fn sign_in(
    connection: &mut AnyConnection,
    subject: &Subject,
    session: &str,
    tokens: &Tokens,
    now: i64,
) -> Result<bool, Refusal> {
    let waiting: Option<(String,)> = sqlx::query_as(
        "SELECT code FROM invitation WHERE subject = $1 AND catalog IS NOT NULL AND expires > $2
         ORDER BY expires DESC LIMIT 1",
    )
    .bind(subject.as_str())
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some((code,)) = waiting {
        redeem(connection, &code, session, tokens, now).await?;
        return Ok(true);
    }
    let known: Option<(i64,)> = sqlx::query_as("SELECT operator FROM person WHERE subject = $1")
        .bind(subject.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    if known != Some((0,)) {
        return Ok(false);
    }
    begin(connection, session, subject, tokens).await?;
    let (who, object) = (subject.as_str(), format!("members/{subject}"));
    let action = "session.begin";
    audit::note(
        connection,
        Change { at: now, catalog: None, who, action, object, before: None, after: None },
    )
    .await?;
    Ok(true)
}

async fn only_here(connection: &mut AnyConnection, catalog: &Name, subject: &Subject) -> Result<(), Refusal> {
    let (elsewhere,): (i64,) = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM member WHERE subject = $1 AND catalog <> $2)
              + (SELECT COUNT(*) FROM person WHERE subject = $1 AND operator = 1)",
    )
    .bind(subject.as_str())
    .bind(catalog.as_str())
    .fetch_one(connection)
    .await?;
    if elsewhere == 0 {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::Conflict,
        "this person is known outside of the catalog; give them another name here",
    ))
}

async fn begin(
    connection: &mut AnyConnection,
    session: &str,
    subject: &Subject,
    tokens: &Tokens,
) -> Result<(), Refusal> {
    sqlx::query(
        "INSERT INTO session (id, subject, token, token_expires, refresh, refresh_expires)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(session.to_owned())
    .bind(subject.as_str())
    .bind(tokens.token.clone())
    .bind(tokens.token_expires)
    .bind(tokens.refresh.clone())
    .bind(tokens.refresh_expires)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM session WHERE subject = $1 AND id NOT IN
         (SELECT id FROM session WHERE subject = $1 ORDER BY refresh_expires DESC, id LIMIT $2)",
    )
    .bind(subject.as_str())
    .bind(SESSIONS_MAX)
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces a session's tokens. None: the refresh token is not known; and if it was used before, the session is over.
///
/// # Errors
/// What the database said.
pub async fn refresh(
    connection: &mut AnyConnection,
    used: &str,
    tokens: &Tokens,
    now: i64,
) -> Result<Option<Subject>, Refusal> {
    let subject: Option<(String,)> = sqlx::query_as(
        "UPDATE session SET token = $1, token_expires = $2, refresh = $3, refresh_expires = $4, refreshed = $5
         WHERE refresh = $5 AND refresh_expires > $6 RETURNING subject",
    )
    .bind(tokens.token.clone())
    .bind(tokens.token_expires)
    .bind(tokens.refresh.clone())
    .bind(tokens.refresh_expires)
    .bind(used.to_owned())
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some((subject,)) = subject {
        return checked(subject).map(Some);
    }
    let copied: Option<(String, String)> =
        sqlx::query_as("DELETE FROM session WHERE refreshed = $1 RETURNING id, subject")
            .bind(used.to_owned())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some((session, subject)) = copied {
        let change = Change {
            at: now,
            catalog: None,
            who: "service",
            action: "session.copied",
            object: format!("sessions/{session}"),
            before: Some(json!({"subject": subject})),
            after: None,
        };
        audit::note(connection, change).await?;
    }
    Ok(None)
}

/// Ends a session.
///
/// # Errors
/// What the database said.
pub async fn end(connection: &mut AnyConnection, session: &str) -> Result<(), Refusal> {
    sqlx::query("DELETE FROM session WHERE id = $1").bind(session.to_owned()).execute(connection).await?;
    Ok(())
}

/// Whose token this is.
///
/// # Errors
/// What the database said.
pub async fn by_token(
    connection: &mut AnyConnection,
    token: &str,
    now: i64,
) -> Result<Option<Person>, Refusal> {
    let found: Option<(String, i64, String)> = sqlx::query_as(
        "SELECT person.subject, person.operator, session.id FROM session
         JOIN person ON person.subject = session.subject WHERE session.token = $1 AND session.token_expires > $2",
    )
    .bind(token.to_owned())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    let person = |(subject, operator, session)| {
        Ok(Person { subject: checked(subject)?, operator: operator == 1, session })
    };
    found.map(person).transpose()
}

/// What a person may do in a catalog.
///
/// # Errors
/// What the database said.
pub async fn role(
    connection: &mut AnyConnection,
    catalog: &Name,
    subject: &Subject,
) -> Result<Option<Role>, Refusal> {
    let found: Option<(String,)> =
        sqlx::query_as("SELECT role FROM member WHERE catalog = $1 AND subject = $2")
            .bind(catalog.as_str())
            .bind(subject.as_str())
            .fetch_optional(connection)
            .await?;
    found.map(|(role,)| Role::from_word(&role).ok_or_else(super::damaged)).transpose()
}

/// What a person may do where.
///
/// # Errors
/// What the database said.
pub async fn roles(connection: &mut AnyConnection, subject: &Subject) -> Result<Vec<CatalogRole>, Refusal> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT catalog, role FROM member WHERE subject = $1 ORDER BY catalog")
            .bind(subject.as_str())
            .fetch_all(connection)
            .await?;
    let role = |(catalog, role): (String, String)| {
        Ok(CatalogRole {
            catalog: checked(catalog)?,
            role: Role::from_word(&role).ok_or_else(super::damaged)?,
        })
    };
    rows.into_iter().map(role).collect()
}

/// Everybody with a role in the catalog.
///
/// # Errors
/// What the database said.
pub async fn members(connection: &mut AnyConnection, catalog: &Name) -> Result<Vec<Member>, Refusal> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT subject, role FROM member WHERE catalog = $1 ORDER BY subject")
            .bind(catalog.as_str())
            .fetch_all(connection)
            .await?;
    let member = |(subject, role): (String, String)| {
        Ok(Member { subject: checked(subject)?, role: Role::from_word(&role).ok_or_else(super::damaged)? })
    };
    rows.into_iter().map(member).collect()
}

/// Gives a member another role, or none. Comes back with the role before.
///
/// # Errors
/// There is no such member, or nobody would be left who administers the catalog.
pub async fn set_role(
    connection: &mut AnyConnection,
    catalog: &Name,
    subject: &Subject,
    new: Option<Role>,
) -> Result<Role, Refusal> {
    // Two administrators who remove each other at once: the second sees what the first did.
    super::fleet::lock(connection, catalog).await?;
    let old = role(connection, catalog, subject).await?.ok_or_else(|| Refusal::missing("such member"))?;
    let statement = match new {
        Some(_) => "UPDATE member SET role = $3 WHERE catalog = $1 AND subject = $2",
        None => "DELETE FROM member WHERE catalog = $1 AND subject = $2 AND $3 = ''",
    };
    sqlx::query(statement)
        .bind(catalog.as_str())
        .bind(subject.as_str())
        .bind(new.map_or("", Role::as_str))
        .execute(&mut *connection)
        .await?;
    let (administrators,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM member WHERE catalog = $1 AND role = 'administrator'")
            .bind(catalog.as_str())
            .fetch_one(connection)
            .await?;
    if administrators == 0 {
        return Err(Refusal::new(Kind::Conflict, "somebody must administer the catalog"));
    }
    Ok(old)
}
