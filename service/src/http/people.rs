//! People and machines: sessions, members, invitations.

use super::body::{Body, Created, Done, In, Json};
use super::{Access, Allowed, Caller, Service};
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use crate::store::audit::{self, Change};
use crate::store::{machines, people};
use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post, put};
use serde_json::json;
use service_api::people::{
    Invitation, Machine, Me, Member, MemberRole, NewInvitation, NewMachine, NewSession, Refresh, Role,
    Session,
};
use service_api::problem::Problem;
use service_api::{Code, Name, Subject};
use std::sync::Arc;

/// How long a token is good for.
const TOKEN_S: u32 = 3_600;
/// How long a refresh token is good for.
const REFRESH_S: u32 = 30 * 86_400;
/// How long an invitation waits.
const INVITATION_S: u32 = 86_400;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/sessions", post(begin))
        .route("/v1/sessions/refresh", post(refresh))
        .route("/v1/sessions/current", delete(end))
        .route("/v1/me", get(me))
        .route("/v1/catalogs/{catalog}/members", get(members))
        .route("/v1/catalogs/{catalog}/members/{subject}", put(set_role).delete(remove_member))
        .route("/v1/catalogs/{catalog}/invitations", post(invite))
        .route("/v1/catalogs/{catalog}/machines", get(list_machines).post(add_machine))
        .route("/v1/catalogs/{catalog}/machines/{machine}", delete(remove_machine))
}

pub(super) struct Fresh {
    token: Code,
    refresh: Code,
    pub(super) digests: people::Tokens,
}

pub(super) fn fresh(now: i64) -> Result<Fresh, Refusal> {
    let (token, refresh) = (secrets::code()?, secrets::code()?);
    let digests = people::Tokens {
        token: secrets::digest_of(&token),
        token_expires: now + i64::from(TOKEN_S),
        refresh: secrets::digest_of(&refresh),
        refresh_expires: now + i64::from(REFRESH_S),
    };
    Ok(Fresh { token, refresh, digests })
}

pub(super) fn session(subject: Subject, fresh: Fresh) -> Session {
    let Fresh { token, refresh, .. } = fresh;
    Session { subject, token, expires_s: TOKEN_S, refresh, refresh_expires_s: REFRESH_S }
}

/// Begins a session with a one-time code
#[utoipa::path(post, path = "/v1/sessions", tag = "people", request_body = NewSession,
    responses((status = 201, body = Session), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn begin(
    State(service): State<Arc<Service>>,
    _: Allowed,
    Body(new): Body<NewSession>,
) -> Result<Created<Session>, Refusal> {
    let now = service.now();
    let fresh = fresh(now)?;
    let (code, id, tokens) =
        (secrets::digest_of(&new.code), secrets::hex(&secrets::random::<16>()?), fresh.digests.clone());
    let write = service.store.write(move |connection| {
        Box::pin(async move { people::redeem(connection, &code, &id, &tokens, now).await })
    });
    let subject = write.await?;
    Ok(Created(session(subject, fresh)))
}

/// The next tokens of a session
///
/// Each refresh token is good once. One that comes a second time ends the session.
#[utoipa::path(post, path = "/v1/sessions/refresh", tag = "people", request_body = Refresh,
    responses((status = 200, body = Session), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn refresh(
    State(service): State<Arc<Service>>,
    _: Allowed,
    Body(request): Body<Refresh>,
) -> Result<Json<Session>, Refusal> {
    let now = service.now();
    let fresh = fresh(now)?;
    let (used, tokens) = (secrets::digest_of(&request.refresh), fresh.digests.clone());
    let write = service.store.write(move |connection| {
        Box::pin(async move { people::refresh(connection, &used, &tokens, now).await })
    });
    let unknown =
        || Refusal::new(Kind::Unauthenticated, "the refresh token is not known, or it was used, or it ended");
    let subject = write.await?.ok_or_else(unknown)?;
    Ok(Json(session(subject, fresh)))
}

/// Ends the caller's session
#[utoipa::path(delete, path = "/v1/sessions/current", tag = "people", security(("token" = [])),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn end(State(service): State<Arc<Service>>, access: Access) -> Result<Done, Refusal> {
    let Caller::Person(person) = access.caller(&service).await? else {
        return Err(Refusal::new(Kind::Conflict, "a machine has no session"));
    };
    let write = service
        .store
        .write(move |connection| Box::pin(async move { people::end(connection, &person.session).await }));
    write.await?;
    Ok(Done)
}

/// Who the caller is, and what they may do where
#[utoipa::path(get, path = "/v1/me", tag = "people", security(("token" = [])),
    responses((status = 200, body = Me), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn me(State(service): State<Arc<Service>>, access: Access) -> Result<Json<Me>, Refusal> {
    let caller = access.caller(&service).await?;
    let operator = matches!(&caller, Caller::Person(person) if person.operator);
    Ok(Json(Me { subject: caller.subject()?, operator, roles: Access::roles(&service, &caller).await? }))
}

/// Everybody with a role in the catalog
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/members", tag = "people", security(("token" = [])),
    params(("catalog" = Name, Path)), responses((status = 200, body = Vec<Member>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn members(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
) -> Result<Json<Vec<Member>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(people::members(&mut *service.store.read().await?, &catalog).await?))
}

/// Changes a member's role
#[utoipa::path(put, path = "/v1/catalogs/{catalog}/members/{subject}", tag = "people", security(("token" = [])),
    params(("catalog" = Name, Path), ("subject" = Subject, Path)), request_body = MemberRole,
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set_role(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, subject)): In<(Name, Subject)>,
    Body(new): Body<MemberRole>,
) -> Result<Done, Refusal> {
    change_role(&service, &access, catalog, subject, Some(new.role)).await
}

/// Takes a member's role away
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/members/{subject}", tag = "people", security(("token" = [])),
    params(("catalog" = Name, Path), ("subject" = Subject, Path)), responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_member(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, subject)): In<(Name, Subject)>,
) -> Result<Done, Refusal> {
    change_role(&service, &access, catalog, subject, None).await
}

async fn change_role(
    service: &Service,
    access: &Access,
    catalog: Name,
    subject: Subject,
    role: Option<Role>,
) -> Result<Done, Refusal> {
    let who = access.with_role(service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            let before = people::set_role(connection, &catalog, &subject, role).await?;
            let change = Change {
                at,
                catalog: Some(&catalog),
                who: &who,
                action: "member.role",
                object: format!("members/{subject}"),
                before: Some(json!({"role": before})),
                after: role.map(|role| json!({"role": role})),
            };
            audit::note(connection, change).await
        })
    });
    write.await?;
    Ok(Done)
}

/// Invites somebody, or a member who lost their session
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/invitations", tag = "people", security(("token" = [])),
    params(("catalog" = Name, Path)), request_body = NewInvitation,
    responses((status = 201, body = Invitation), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn invite(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Body(new): Body<NewInvitation>,
) -> Result<Created<Invitation>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let code = secrets::spoken_code()?;
    let (digest, at) = (secrets::digest_of(&code), service.now());
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            let NewInvitation { subject, role } = new;
            let expires = at + i64::from(INVITATION_S);
            people::may_be_invited(connection, &catalog, &subject).await?;
            people::invite(connection, &digest, &subject, Some((&catalog, role)), expires).await?;
            let change = Change {
                at,
                catalog: Some(&catalog),
                who: &who,
                action: "member.invite",
                object: format!("members/{subject}"),
                before: None,
                after: Some(json!({"role": role, "expires": expires})),
            };
            audit::note(connection, change).await
        })
    });
    write.await?;
    Ok(Created(Invitation { code, expires_s: INVITATION_S }))
}

/// The catalog's machines
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/machines", tag = "people", security(("token" = [])),
    params(("catalog" = Name, Path)), responses((status = 200, body = Vec<Machine>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_machines(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
) -> Result<Json<Vec<Machine>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(machines::list(&mut *service.store.read().await?, &catalog).await?))
}

/// Registers a machine by its certificate
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/machines", tag = "people", security(("token" = [])),
    params(("catalog" = Name, Path)), request_body = NewMachine,
    responses((status = 201, body = Machine), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add_machine(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Body(new): Body<NewMachine>,
) -> Result<Created<Machine>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    if new.certificate_sha256.as_slice().len() != 32 {
        return Err(Refusal::new(Kind::Malformed, "a SHA-256 has 32 bytes"));
    }
    let at = service.now();
    let NewMachine { name, role, certificate_sha256 } = new.clone();
    let machine = Machine { name, role, certificate_sha256 };
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            machines::add(connection, &catalog, &new).await?;
            let change = Change {
                at,
                catalog: Some(&catalog),
                who: &who,
                action: "machine.add",
                object: format!("machines/{}", new.name),
                before: None,
                after: Some(json!({"role": new.role, "certificate_sha256": new.certificate_sha256})),
            };
            audit::note(connection, change).await
        })
    });
    write.await?;
    Ok(Created(machine))
}

/// Forgets a machine
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/machines/{machine}", tag = "people", security(("token" = [])),
    params(("catalog" = Name, Path), ("machine" = Name, Path)), responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_machine(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, machine)): In<(Name, Name)>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            machines::remove(connection, &catalog, &machine).await?;
            let object = format!("machines/{machine}");
            let (action, catalog) = ("machine.remove", Some(&catalog));
            audit::note(
                connection,
                Change { at, catalog, who: &who, action, object, before: None, after: None },
            )
            .await
        })
    });
    write.await?;
    Ok(Done)
}
