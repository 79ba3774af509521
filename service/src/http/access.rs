//! Who asks, and whether they may.
//!
//! A person comes with a bearer token, a machine or a device with a client certificate. What they may do is looked up for
//! each request, in the state as it is then: a role that was taken away is gone at once. To whoever has no role in a
//! catalog it does not exist, whatever they ask of it, so that tenants learn nothing of each other.

use super::{Peer, Service};
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use crate::store::{devices, machines, people};
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use service_api::fleet::Placement;
use service_api::people::{CatalogRole, Role};
use service_api::{Code, DeviceId, Name, Subject};

/// The credentials of a request, not looked up yet.
#[derive(Clone, Debug)]
pub struct Access {
    /// Digest of the bearer token.
    token: Option<String>,
    /// Digest of the client certificate.
    certificate: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let token = match parts.headers.get(header::AUTHORIZATION) {
            None => None,
            Some(value) => Some(bearer(value.to_str().ok())?),
        };
        let certificate = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate.clone());
        Ok(Self { token, certificate })
    }
}

fn bearer(value: Option<&str>) -> Result<String, Refusal> {
    let wrong = || Refusal::new(Kind::Unauthenticated, "Authorization is not \"Bearer\" with a token");
    let (scheme, token) = value.and_then(|value| value.split_once(' ')).ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(wrong());
    }
    let token: Code = token.parse().map_err(|_| wrong())?;
    Ok(secrets::digest_of(&token))
}

/// A person or machine that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody with a session.
    Person(people::Person),
    /// A machine of a catalog: its catalog, its name, its role.
    Machine(Name, Name, Role),
}

impl Caller {
    /// As the audit log has it.
    pub fn who(&self) -> String {
        match self {
            Self::Person(person) => person.subject.as_str().to_owned(),
            Self::Machine(catalog, name, _) => format!("machine.{catalog}.{name}"),
        }
    }

    /// As the API has it.
    ///
    /// # Errors
    /// A machine's name that is none: never.
    pub fn subject(&self) -> Result<Subject, Refusal> {
        Subject::try_from(self.who()).map_err(|_| Refusal::unavailable("the caller has no name"))
    }
}

impl Access {
    /// Whoever it is.
    ///
    /// # Errors
    /// Nobody.
    pub async fn caller(&self, service: &Service) -> Result<Caller, Refusal> {
        let nobody = |reason: &str| Refusal::new(Kind::Unauthenticated, reason);
        let mut read = service.store.read().await?;
        if let Some(token) = &self.token {
            let person = people::by_token(&mut read, token, service.now()).await?;
            return person.map(Caller::Person).ok_or_else(|| nobody("the token is not known, or it ended"));
        }
        let certificate =
            self.certificate.as_deref().ok_or_else(|| nobody("neither a token nor a client certificate"))?;
        let machine = machines::by_certificate(&mut read, certificate).await?;
        let (catalog, name, role) = machine.ok_or_else(|| nobody("no machine has this certificate"))?;
        Ok(Caller::Machine(catalog, name, role))
    }

    /// Somebody who may do in a catalog what `needed` may.
    ///
    /// # Errors
    /// Nobody; somebody for whom the catalog does not exist; somebody with too little a role.
    pub async fn with_role(
        &self,
        service: &Service,
        catalog: &Name,
        needed: Role,
    ) -> Result<Caller, Refusal> {
        let caller = self.caller(service).await?;
        let role = match &caller {
            Caller::Machine(of, _, role) => (of == catalog).then_some(*role),
            Caller::Person(person) => {
                people::role(&mut *service.store.read().await?, catalog, &person.subject).await?
            }
        };
        match role {
            None => Err(Refusal::missing("such catalog")),
            Some(role) if role < needed => {
                Err(Refusal::new(Kind::Forbidden, format!("this needs the role {}", needed.as_str())))
            }
            Some(_) => Ok(caller),
        }
    }

    /// What the caller may do where.
    ///
    /// # Errors
    /// The database.
    pub async fn roles(service: &Service, caller: &Caller) -> Result<Vec<CatalogRole>, Refusal> {
        match caller {
            Caller::Machine(catalog, _, role) => {
                Ok(vec![CatalogRole { catalog: catalog.clone(), role: *role }])
            }
            Caller::Person(person) => people::roles(&mut *service.store.read().await?, &person.subject).await,
        }
    }

    /// The device whose certificate this is.
    ///
    /// # Errors
    /// None: no certificate, one that ended or was revoked, one of a catalog that no longer has the device.
    pub async fn device(&self, service: &Service) -> Result<(DeviceId, Name, Placement), Refusal> {
        let nobody = |reason: &str| Refusal::new(Kind::Unauthenticated, reason);
        let certificate = self.certificate.as_deref().ok_or_else(|| nobody("no client certificate"))?;
        let mut read = service.store.read().await?;
        let found = devices::by_certificate(&mut read, certificate, service.now()).await?;
        found.ok_or_else(|| nobody("this is no device's certificate, or it ended, or it is revoked"))
    }
}
