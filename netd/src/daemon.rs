//! The parts, joined: one thread, everything in one `LocalSet`.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bus::network_link::{FromNetd, ToNetd, line};
use bus_tokio::{Link, watched};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{interval, sleep};

use crate::config::{Config, ConfigError};
use crate::dns::{self, Resolver};
use crate::names::Names;
use crate::policies::Policies;
use crate::serve::{self, Sources};
use crate::state::NetState;
use crate::{link, mdns, time};

/// How long refusals are gathered before they are told.
const GATHER: Duration = Duration::from_millis(100);
/// How often what was learnt and is over is cleared.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The daemon.
pub struct Netd {
    desk: Link<ToNetd, FromNetd>,
    policies: Rc<Policies>,
    resolver: Rc<Resolver<Rc<Policies>>>,
    told: Told,
    net: watch::Sender<NetState>,
    clock: time::Outputs,
    /// What is wrong with the configuration that was kept.
    fault: Rc<RefCell<Option<String>>>,
}

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Took {
    /// A configuration that holds now.
    Config,
    Other,
}

/// What sandboxd told, for those whom it concerns.
struct Told {
    config: watch::Sender<Config>,
    dns: watch::Sender<dns::Settings>,
    time: watch::Sender<time::Settings>,
    mdns: watch::Sender<mdns::Settings>,
    floor_s: watch::Sender<i64>,
}

impl Netd {
    /// On the socket to sandboxd.
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn new(link: OwnedFd) -> io::Result<Self> {
        let policies = Rc::new(Policies::default());
        let net = watch::Sender::new(NetState::default());
        let told = Told {
            config: watch::Sender::new(Config::default()),
            dns: watch::Sender::new(dns::Settings::default()),
            time: watch::Sender::new(time::Settings::default()),
            mdns: watch::Sender::new(mdns::Settings::default()),
            floor_s: watch::Sender::new(0),
        };
        let notes = policies.clone();
        let events = Box::new(move |event| notes.note(event));
        let resolver = Resolver::new(told.dns.subscribe(), net.subscribe(), policies.clone(), events);
        let clock = time::Outputs {
            state: watch::Sender::new(time::TimeState::default()),
            keep_s: watch::Sender::new(0),
        };
        let fault = Rc::default();
        Ok(Self { desk: Link::new(link)?, policies, resolver, told, net, clock, fault })
    }

    /// Runs until sandboxd's end of the link is gone for good.
    ///
    /// # Errors
    /// The link fails.
    pub async fn run(self: Rc<Self>) -> io::Result<()> {
        spawn_local(dns::serve_udp(self.resolver.clone(), self.policies.apps.clone()));
        spawn_local(dns::serve_tcp(self.resolver.clone(), self.policies.apps.clone()));
        let names = self.resolver.clone();
        spawn_local(async move { names.follow().await });
        let flushing = self.clone();
        spawn_local(async move { flushing.desk.flush().await });
        let telling = self.clone();
        spawn_local(async move { telling.tell_names().await });
        let sweeping = self.clone();
        spawn_local(async move { sweeping.sweep().await });
        let serving = self.clone();
        spawn_local(async move { said("bus", serve::run(serving.sources()).await) });
        self.desk.send(&FromNetd::Hello);
        // The first state has the configuration: links come up as it says, and not before.
        loop {
            let (message, fds) = self.desk.receive().await?;
            if self.take(message, fds) == Took::Config {
                break;
            }
        }
        self.begin();
        loop {
            let (message, fds) = self.desk.receive().await?;
            self.take(message, fds);
        }
    }

    /// Starts what needs the configuration.
    fn begin(self: &Rc<Self>) {
        let links = self.clone();
        spawn_local(async move {
            let (config, net) = (links.told.config.subscribe(), links.net.clone());
            let ipv6 = |link: &str, on| links.desk.send(&FromNetd::Ipv6 { link: link.to_owned(), on });
            said("links", link::run(config, net, ipv6).await);
        });
        let keeping = self.clone();
        spawn_local(async move { keeping.keep_time().await });
        let announcing = self.clone();
        spawn_local(async move { said("mdns", announcing.announce().await) });
        let clock = self.clone();
        spawn_local(async move {
            let inputs = time::Inputs {
                settings: clock.told.time.subscribe(),
                floor_s: clock.told.floor_s.subscribe(),
                net: clock.net.subscribe(),
                roots: dns::transport::public_roots(),
                built_s: sys::time::BUILT_S,
            };
            let lookup = Names { resolver: clock.resolver.clone(), time: clock.clock.state.subscribe() };
            said("time", time::run(inputs, &clock.clock, &mut time::Kernel, &lookup).await);
        });
    }

    /// Announces the device, if the configuration says so: by its first hardware address, until it has a better id. The
    /// loopback's is the same everywhere.
    async fn announce(&self) -> io::Result<()> {
        let mut net = self.net.subscribe();
        let first = |net: &NetState| {
            net.links.iter().filter(|link| !link.loopback).find_map(|link| link.hardware_address)
        };
        let Ok(mac) = net.wait_for(|net| first(net).is_some()).await.map(|net| first(&net)) else {
            return Ok(());
        };
        let id = mac.unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
        // Port 0 says that there is no way in.
        let identity = mdns::Identity { id, port: 0 };
        let door = self.policies.door.subscribe();
        mdns::run(mdns::Inputs { settings: self.told.mdns.subscribe(), net, door, identity }).await
    }

    /// Has sandboxd keep the time that became known.
    async fn keep_time(&self) {
        let mut keep_s = self.clock.keep_s.subscribe();
        while keep_s.changed().await.is_ok() {
            if let Ok(kept_s) = u64::try_from(*keep_s.borrow_and_update()) {
                self.desk.send(&FromNetd::Keep(kept_s));
            }
        }
    }

    fn take(self: &Rc<Self>, message: ToNetd, fds: Vec<OwnedFd>) -> Took {
        match message {
            ToNetd::Sync => self.policies.sync(),
            ToNetd::Firewall => match self.policies.firewall(fds) {
                Ok(()) => self.watch_refusals(),
                Err(e) => eprintln!("firewall: {e}"),
            },
            ToNetd::Config(text) => match text.parse() {
                Ok(config) => {
                    self.configure(config);
                    return Took::Config;
                }
                Err(e) => self.fault(&e),
            },
            ToNetd::Floor(floor_s) => {
                self.told.floor_s.send_replace(i64::try_from(floor_s).unwrap_or(i64::MAX));
            }
            ToNetd::App(grants) => match self.policies.app(&grants) {
                Ok(()) => self.desk.send(&FromNetd::Taken(grants.uid)),
                Err(e) => eprintln!("firewall: no policy for {}: {e}", grants.id),
            },
            ToNetd::Gone(uid) => self.policies.gone(uid),
            ToNetd::SyncEnd => self.policies.sync_end(),
            ToNetd::Name { ask, uid, address } => {
                let host = self.policies.host(uid, address).unwrap_or_default();
                self.desk.send(&FromNetd::Name { ask, host });
            }
        }
        Took::Other
    }

    /// A configuration that was kept can not be read. It is said where somebody looks, and another one is told.
    fn fault(&self, fault: &ConfigError) {
        // The parser's excerpt of the text needs several lines, and where it is stands in the first.
        let text = fault.to_string();
        let lines: Vec<&str> = text.lines().filter(|text| !text.contains(" |")).collect();
        let said = line(&lines.join(": "));
        self.fault.replace(Some(said.clone()));
        self.desk.send(&FromNetd::Fault(said));
    }

    /// A configuration holds from now.
    fn configure(&self, config: Config) {
        self.told.dns.send_replace(config.dns.clone());
        self.told.time.send_if_modified(|old| std::mem::replace(old, config.time.clone()) != config.time);
        let announced = mdns::Settings { announce: config.announce, links: Vec::new() };
        self.told.mdns.send_if_modified(|old| std::mem::replace(old, announced.clone()) != announced);
        self.told.config.send_replace(config);
    }

    /// What the answers on the bus come from.
    fn sources(self: &Rc<Self>) -> Sources {
        let netd = self.clone();
        Sources {
            policies: self.policies.clone(),
            resolver: self.resolver.clone(),
            net: self.net.subscribe(),
            dns: self.told.dns.subscribe(),
            time: self.clock.state.subscribe(),
            fault: self.fault.clone(),
            configure: Box::new(move |text| netd.replace_config(text)),
        }
    }

    /// Takes a configuration that somebody sent, and has it kept. One with a fault changes nothing.
    fn replace_config(&self, text: &str) -> Result<(), String> {
        self.configure(text.parse().map_err(|e: ConfigError| e.to_string())?);
        self.fault.take();
        self.desk.send(&FromNetd::Store(text.to_owned()));
        Ok(())
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
            self.policies.refusals().into_iter().for_each(|message| self.desk.send(&message));
            sleep(GATHER).await;
        }
    }

    async fn tell_names(&self) {
        loop {
            self.policies.noted().await;
            sleep(GATHER).await;
            self.policies.refusals().into_iter().for_each(|message| self.desk.send(&message));
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

fn said(part: &str, ended: io::Result<()>) {
    if let Err(e) = ended {
        eprintln!("{part}: {e}");
    }
}
