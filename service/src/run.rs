//! The service as a process: listeners, what is done by and by, the end.
//!
//! The service's own certificate comes from its own root unless it is given one. It is made anew in memory at each start
//! and every day, so no key of it is on a disk and none runs out.

use crate::ca::CaError;
use crate::http::{self, Service};
use crate::patience::patiently;
use crate::serve::serve;
use crate::store::deployments;
use crate::tls::{OwnCertificate, server_config};
use crate::updates;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

/// How long the service's own certificate lasts: a clock that is some days wrong does not keep a device from it.
const OWN_S: i64 = 30 * 86_400;
/// How often that one is made, and what ended is removed.
const DAILY: Duration = Duration::from_secs(86_400);
/// How often it is looked at when what people signed expires.
const HOURLY: Duration = Duration::from_secs(3600);
/// How often what ended is removed.
const TIDY: Duration = Duration::from_secs(60);

/// Which certificate the service shows.
#[derive(Clone)]
pub enum Own {
    /// Of its own root, for these names and addresses.
    Made(Vec<String>),
    /// This chain and key (PKCS#8), DER.
    Given(Vec<Vec<u8>>, Vec<u8>),
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Made(_) => "Made",
            Self::Given(..) => "Given",
        })
    }
}

/// Why the service did not start.
#[derive(Debug)]
pub enum RunError {
    /// An address could not be listened on.
    Listen(SocketAddr, io::Error),
    /// Its own certificate.
    Certificate(CaError),
    /// TLS.
    Tls(rustls::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, _) => write!(f, "listening on {address}"),
            Self::Certificate(_) => f.write_str("making the service's own certificate"),
            Self::Tls(_) => f.write_str("setting up TLS"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(_, error) => Some(error),
            Self::Certificate(error) => Some(error),
            Self::Tls(error) => Some(error),
        }
    }
}

impl From<CaError> for RunError {
    fn from(error: CaError) -> Self {
        Self::Certificate(error)
    }
}

impl From<rustls::Error> for RunError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

/// A service that serves.
#[derive(Debug)]
pub struct Running {
    /// Where the world finds it.
    pub address: SocketAddr,
    /// Where health and metrics are.
    pub inside: Option<SocketAddr>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    service: Arc<Service>,
}

impl Running {
    /// Binds and serves, until [`Running::stop`].
    ///
    /// # Errors
    /// An address, or the service's own certificate.
    pub async fn start(
        service: Service,
        own: Own,
        listen: SocketAddr,
        inside: Option<SocketAddr>,
    ) -> Result<Self, RunError> {
        let service = Arc::new(service);
        let certificate = Arc::new(certificate_of(&service, &own)?);
        let tls = TlsAcceptor::from(Arc::new(server_config(certificate.clone())?));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (listener, address) = bind(listen).await?;
        tasks.spawn(serve(listener, Some(tls), http::router(service.clone()), stopped.clone()));
        let inside = match inside {
            None => None,
            Some(inside) => {
                let (listener, address) = bind(inside).await?;
                tasks.spawn(serve(listener, None, http::inside(service.clone()), stopped.clone()));
                Some(address)
            }
        };
        let waiting = (service.clone(), stopped.clone());
        tasks.spawn(async move { waiting.0.waiting.watch(&waiting.0.store, waiting.1).await });
        tasks.spawn(by_and_by(service.clone(), own, certificate, stopped));
        Ok(Self { address, inside, tasks, stop, service })
    }

    /// Takes nothing new, finishes what is going on, closes the state.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.service.store.close().await;
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |error| RunError::Listen(address, error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn certificate_of(service: &Service, own: &Own) -> Result<OwnCertificate, RunError> {
    let (chain, key) = match own {
        Own::Given(chain, key) => (chain.clone(), key.clone()),
        Own::Made(names) => made(service, names)?,
    };
    Ok(OwnCertificate::new(chain, key)?)
}

fn made(service: &Service, names: &[String]) -> Result<(Vec<Vec<u8>>, Vec<u8>), RunError> {
    let (certificate, key) = service.authority.server_certificate(names, service.now(), OWN_S)?;
    Ok((vec![certificate], key))
}

async fn by_and_by(
    service: Arc<Service>,
    own: Own,
    certificate: Arc<OwnCertificate>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut counted = false;
    let mut tidy = tokio::time::interval(TIDY);
    let mut hourly = tokio::time::interval(HOURLY);
    let mut expiry = tokio::time::interval(DAILY);
    let mut daily = tokio::time::interval(DAILY);
    // The first is at once, and it was made just now.
    daily.tick().await;
    loop {
        tokio::select! {
            () = told(&mut stopped) => return,
            _ = tidy.tick() => {
                if let Err(refusal) = service.store.tidy(service.now()).await {
                    tracing::warn!(?refusal, "what ended is still there");
                }
                if let Err(refusal) = updates::refresh(&service).await {
                    tracing::error!(?refusal, "the timestamp of updates is the old one");
                }
            }
            _ = hourly.tick() => {
                if !counted {
                    tokio::select! {
                        () = told(&mut stopped) => return,
                        done = recounted(&service) => counted = done,
                    }
                }
                if let Err(refusal) = updates::measure(&service).await {
                    tracing::warn!(?refusal, "when roles of the updates expire is what it was an hour ago");
                }
            }
            _ = expiry.tick() => {
                if let Err(refusal) = updates::warn(&service).await {
                    tracing::warn!(?refusal, "whether roles of the updates expire is not known");
                }
            }
            _ = daily.tick() => {
                let Own::Made(names) = &own else { continue };
                let renewed = made(&service, names).and_then(|(chain, key)| Ok(certificate.replace(chain, key)?));
                if let Err(error) = renewed {
                    tracing::error!(error = &error as &dyn std::error::Error, "the service's own certificate is the old one");
                }
            }
        }
    }
}

/// Counts deployments anew. Whether it is done: devices that speak meanwhile may keep it from that.
async fn recounted(service: &Service) -> bool {
    let now = service.now();
    let recount = patiently(|| {
        service
            .store
            .write(move |connection| Box::pin(async move { deployments::recount_all(connection, now).await }))
    });
    let counted = recount.await;
    if let Err(refusal) = &counted {
        tracing::warn!(?refusal, "deployments count as the service before this one did");
    }
    counted.is_ok()
}

/// Comes back when `stop` is said, or nobody is left who could say it.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    let _said_or_gone = stop.wait_for(|stop| *stop).await.map(drop);
}
