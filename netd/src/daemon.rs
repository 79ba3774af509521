//! The parts, joined: one thread, everything in one `LocalSet`.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bus::network_link::{FromNetd, ToNetd};

use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{interval, sleep};

use crate::desk::Desk;
use crate::dns::{self, Resolver};
use crate::policies::Policies;
use crate::state::NetState;
use crate::watched::watched;

/// How long refusals are gathered before they are told.
const GATHER: Duration = Duration::from_millis(100);
/// How often what was learnt and is over is cleared.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The daemon.
pub struct Netd {
    desk: Desk,
    policies: Rc<Policies>,
    resolver: Rc<Resolver<Rc<Policies>>>,
    config: watch::Sender<String>,
    net: watch::Sender<NetState>,
    floor_s: watch::Sender<i64>,
}

impl Netd {
    /// On the socket to sandboxd.
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn new(link: OwnedFd) -> io::Result<Self> {
        let policies = Rc::new(Policies::default());
        let (net, links) = watch::channel(NetState::default());
        let (_, settings) = watch::channel(dns::Settings::default());
        let notes = policies.clone();
        let events = Box::new(move |event| notes.note(event));
        let resolver = Resolver::new(settings, links, policies.clone(), events);
        Ok(Self {
            desk: Desk::new(link)?,
            policies,
            resolver,
            config: watch::Sender::new(String::new()),
            net,
            floor_s: watch::Sender::new(0),
        })
    }

    /// Runs until sandboxd's end of the link is gone for good.
    ///
    /// # Errors
    /// The link fails.
    pub async fn run(self: Rc<Self>) -> io::Result<()> {
        spawn_local(dns::serve_udp(self.resolver.clone(), self.policies.apps.clone()));
        spawn_local(dns::serve_tcp(self.resolver.clone(), self.policies.apps.clone()));
        let flushing = self.clone();
        spawn_local(async move { flushing.desk.flush().await });
        let telling = self.clone();
        spawn_local(async move { telling.tell_names().await });
        let sweeping = self.clone();
        spawn_local(async move { sweeping.sweep().await });
        self.desk.send(FromNetd::Hello);
        loop {
            let (message, fds) = self.desk.receive().await?;
            self.take(message, fds);
        }
    }

    fn take(self: &Rc<Self>, message: ToNetd, fds: Vec<OwnedFd>) {
        match message {
            ToNetd::Sync => self.policies.sync(),
            ToNetd::Firewall => match self.policies.firewall(fds) {
                Ok(()) => self.watch_refusals(),
                Err(e) => eprintln!("firewall: {e}"),
            },
            ToNetd::Config(text) => drop(self.config.send_replace(text)),
            ToNetd::Floor(floor_s) => {
                self.floor_s.send_replace(i64::try_from(floor_s).unwrap_or(i64::MAX));
            }
            ToNetd::App(grants) => match self.policies.app(&grants) {
                Ok(()) => self.desk.send(FromNetd::Taken(grants.uid)),
                Err(e) => eprintln!("firewall: no policy for {}: {e}", grants.id),
            },
            ToNetd::Gone(uid) => self.policies.gone(uid),
            ToNetd::SyncEnd => self.policies.sync_end(),
        }
    }

    /// Tells sandboxd of what the kernel refuses, as it happens.
    fn watch_refusals(self: &Rc<Self>) {
        let Some(ring) = self.policies.ring() else { return };
        let netd = self.clone();
        spawn_local(async move {
            if let Err(e) = netd.refusals(ring).await {
                eprintln!("firewall: refusals are not told any more: {e}");
            }
        });
    }

    async fn refusals(&self, ring: OwnedFd) -> io::Result<()> {
        let ring = watched(ring)?;
        loop {
            ring.readable().await?.clear_ready();
            self.policies.refusals().into_iter().for_each(|message| self.desk.send(message));
            sleep(GATHER).await;
        }
    }

    async fn tell_names(&self) {
        loop {
            self.policies.noted().await;
            sleep(GATHER).await;
            self.policies.refusals().into_iter().for_each(|message| self.desk.send(message));
        }
    }

    async fn sweep(&self) {
        let mut due = interval(SWEEP_EVERY);
        loop {
            due.tick().await;
            self.policies.sweep();
        }
    }
}
