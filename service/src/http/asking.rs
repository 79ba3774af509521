//! Devices ask what they are meant to run, and wait until that changes.

use super::body::{Asked, Body, Done, Json};
use super::{Access, Service};
use crate::patience::patiently;
use crate::refusal::Refusal;
use crate::store::deployments::{self, Asker, Meant};
use crate::store::{orders, permits};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use service_api::problem::Problem;
use service_api::updates::{Answer, Changed, Check, Order, WaitQuery};
use service_api::{Few, Text};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A check with 200 apps and 256 outcomes.
const CHECK_MAX: usize = 512 << 10;
/// How long a device waits: shorter than most of what is on the way forgets a silent connection after.
pub const WAIT_S: u16 = 120;

/// How devices are told to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Where the repository is.
    pub repository: Text<512>,
    /// After how many seconds a device asks again that is not waiting.
    pub check_after_s: u32,
    /// Send who fetches a blob on to the store, if that is none of our folders.
    pub redirect: bool,
}

impl Default for Asking {
    /// Below the service's own address, and every four hours.
    fn default() -> Self {
        Self { repository: Text::shown("updates/v1"), check_after_s: 14_400, redirect: false }
    }
}

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new().route("/device/v1/updates", post(check)).route("/device/v1/updates/wait", get(wait))
}

async fn asker(service: &Service, access: &Access) -> Result<Asker, Refusal> {
    let (device, catalog, place) = access.device(service).await?;
    Ok(Asker { device, catalog, place })
}

/// What the device runs and how its updates went; which releases it is meant to run
///
/// By the device's certificate.
#[utoipa::path(post, path = "/device/v1/updates", tag = "device", request_body = Check,
    responses((status = 200, body = Answer), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn check(
    State(service): State<Arc<Service>>,
    access: Access,
    Body(check): Body<Check, CHECK_MAX>,
) -> Result<Json<Answer>, Refusal> {
    let (asker, now) = (asker(&service, &access).await?, service.now());
    let (permit, quiet) = {
        let mut read = service.store.read().await?;
        let permit = permits::id_in_force(&mut read, &asker.device, now).await?;
        let quiet = match deployments::quiet(&mut read, &asker, &check, now).await? {
            Some(meant) => Some((meant, orders::open(&mut read, &asker.device, None, now).await?)),
            None => None,
        };
        (permit, quiet)
    };
    let (meant, order) = match quiet {
        Some(known) => known,
        None => {
            let meant = written(&service, &asker, &check, now).await?;
            // What it said may have opened a wave for others.
            service.waiting.stir();
            // After what it said was written: what was taken back before is not named.
            let mut read = service.store.read().await?;
            (meant, orders::open(&mut read, &asker.device, check.order.as_ref(), now).await?)
        }
    };
    answer(&service, meant, permit.unwrap_or_default(), order).map(Json)
}

/// Takes down what a device says.
async fn written(service: &Service, asker: &Asker, check: &Check, now: i64) -> Result<Meant, Refusal> {
    patiently(|| {
        let (asker, check) = (asker.clone(), check.clone());
        service.store.write(move |connection| {
            Box::pin(async move { deployments::ask(connection, &asker, &check, now).await })
        })
    })
    .await
}

fn answer(
    service: &Service,
    meant: Meant,
    permit: Text<128>,
    order: Option<Order>,
) -> Result<Answer, Refusal> {
    let many = || Refusal::unavailable("the deployment is too long");
    Ok(Answer {
        generation: meant.generation,
        repository: service.asking.repository.clone(),
        releases: Few::new(meant.releases).ok_or_else(many)?,
        remove: Few::new(meant.remove).ok_or_else(many)?,
        windows: Few::new(meant.windows).ok_or_else(many)?,
        check_after_s: service.asking.check_after_s,
        permit,
        order,
    })
}

/// Waits until the device is meant to run something else, or somebody wants it to ask
///
/// By the device's certificate. 204 when nothing changed in two minutes.
#[utoipa::path(get, path = "/device/v1/updates/wait", tag = "device", params(WaitQuery),
    responses((status = 200, body = Changed), (status = 204),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn wait(
    State(service): State<Arc<Service>>,
    access: Access,
    Asked(query): Asked<WaitQuery>,
) -> Result<Response, Refusal> {
    let wait = Duration::from_secs(query.at_most_s.unwrap_or(WAIT_S).min(WAIT_S).into());
    let (until, asker) = (Instant::now() + wait, asker(&service, &access).await?);
    let place = service.waiting.place(&asker)?;
    let [group, device] = place.bells();
    loop {
        // Listened to before it is looked, so that nothing falls in between.
        let (mut group, mut device) = (pin!(group.notified()), pin!(device.notified()));
        group.as_mut().enable();
        device.as_mut().enable();
        match service.store.read().await {
            Ok(mut read) => {
                let generation = deployments::meant(&mut read, &asker).await?.generation;
                if generation != query.generation {
                    return Ok(Json(Changed { generation }).into_response());
                }
            }
            // Too many look at once: this device has time, and another turn.
            Err(_) if Instant::now() < until && !service.waiting.ended() => {
                tokio::time::sleep(place.turn(&asker)).await;
                continue;
            }
            Err(refusal) => return Err(refusal),
        }
        let bell = async {
            tokio::select! {
                () = group => true,
                () = device => false,
            }
        };
        let Ok(of_group) = timeout_at(until, bell).await else { return Ok(Done.into_response()) };
        if service.waiting.ended() {
            return Ok(Done.into_response());
        }
        if of_group {
            tokio::time::sleep(place.turn(&asker)).await;
        }
    }
}
