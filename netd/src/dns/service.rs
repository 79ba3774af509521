//! The road from a question to an answer: may it be asked, what is known, asking, keeping back, learning.
//!
//! What holds: of an address that an app is told, the firewall's table knew before. One question is asked upstream once,
//! however many wait for it. Each app has so many questions under way at most, and all together so many.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use policy::Host;
use tokio::sync::watch;

use super::address::{Class, class};
use super::answer::Answered;
use super::because::Because;
use super::cache::{Cache, Heard};
use super::decide::{Decision, decide};
use super::turns::Turns;
use super::upstream::{self, Transport};
use super::{Kind, TTL_S};
use crate::apps::AppPolicy;
use crate::state::NetState;

/// Questions of one app that are under way at once.
const ONE_MAX: usize = 16;
/// Those of all apps.
const ALL_MAX: usize = 128;
/// How much longer an address may be connected to than the app was told: an app connects some time after it asked.
const GRACE_S: u32 = 5;
/// How long a failure is remembered, seconds: whoever asks in a loop asks nobody else.
const FAILED_S: u64 = 1;

/// What the resolver asks of the firewall.
pub trait Learn {
    /// Lets the box `uid` reach `addresses` at every place of `host` that its policy names now: it may be another than when
    /// the question came. When it returns the kernel knows.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn learn(&self, uid: u32, host: &Host, addresses: &[IpAddr], ttl: Duration) -> Result<(), String>;
}

/// What somebody should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An app asked for a name that its manifest does not have.
    NotListed {
        /// The box.
        uid: u32,
        /// The name.
        host: String,
    },
    /// An address was kept back.
    KeptBack {
        /// The box.
        uid: u32,
        /// The name.
        host: String,
        /// Its address.
        address: IpAddr,
        /// Whether a line `private` would let it through.
        private: bool,
    },
    /// An address could not be put into the firewall's table.
    NotLearnt {
        /// The box.
        uid: u32,
        /// Why.
        why: String,
    },
}

/// How servers are asked, from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers; if there are none, those that the links learnt.
    pub servers: Vec<SocketAddr>,
    /// The transport.
    pub transport: Transport,
}

impl Default for Settings {
    fn default() -> Self {
        Self { servers: Vec::new(), transport: Transport::Plain }
    }
}

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Addresses and their time to live in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// The name has none of this kind.
    Nothing,
    /// The name is not there.
    NoName,
    /// The name has addresses, and all of them were kept back; why the first was.
    KeptBack(Because),
    /// Nobody said.
    Failed(Because),
    /// The manifest does not name it.
    NotListed,
}

type Asking = watch::Receiver<Option<Option<(Heard, u32)>>>;

/// The resolver.
pub struct Resolver<L> {
    settings: watch::Receiver<Settings>,
    net: watch::Receiver<NetState>,
    learn: L,
    events: Box<dyn Fn(Event)>,
    cache: RefCell<Cache>,
    under_way: RefCell<BTreeMap<(String, Kind), Asking>>,
    failed: RefCell<BTreeMap<(String, Kind), u64>>,
    turns: Rc<Turns>,
    health: watch::Sender<Option<bool>>,
    servers: RefCell<Vec<SocketAddr>>,
    began: Instant,
}

impl<L: Learn> Resolver<L> {
    /// Knowing nothing yet. `events` must not wait.
    pub fn new(
        settings: watch::Receiver<Settings>,
        net: watch::Receiver<NetState>,
        learn: L,
        events: Box<dyn Fn(Event)>,
    ) -> Rc<Self> {
        Rc::new(Self {
            settings,
            net,
            learn,
            events,
            cache: RefCell::default(),
            under_way: RefCell::default(),
            failed: RefCell::default(),
            turns: Turns::new(ONE_MAX, ALL_MAX),
            health: watch::Sender::new(None),
            servers: RefCell::default(),
            began: Instant::now(),
        })
    }

    /// Whether servers answered the last time that one was asked; `None` before.
    pub fn health(&self) -> watch::Receiver<Option<bool>> {
        self.health.subscribe()
    }

    /// Answers a box.
    pub async fn answer(&self, policy: &AppPolicy, name: &str, kind: Option<Kind>) -> Answered {
        match self.resolve(policy, name, kind).await {
            Outcome::Addresses(addresses, ttl_s) => Answered::Addresses(addresses, ttl_s),
            Outcome::Nothing => Answered::Nothing,
            Outcome::NoName => Answered::NoName,
            Outcome::KeptBack(because) | Outcome::Failed(because) => Answered::Failed(because),
            Outcome::NotListed => Answered::Refused(Because::not_listed(name)),
        }
    }

    /// Looks a name up for a box, which may connect to what comes back.
    pub async fn resolve(&self, policy: &AppPolicy, name: &str, kind: Option<Kind>) -> Outcome {
        let uid = policy.uid;
        let (host, private) = match decide(policy, name, kind) {
            Decision::Local => return Outcome::Addresses(vec![local(kind)], *TTL_S.end()),
            Decision::Nothing => return Outcome::Nothing,
            Decision::NotListed => {
                (self.events)(Event::NotListed { uid, host: name.to_owned() });
                return Outcome::NotListed;
            }
            Decision::Ask { host, private } => (host, private),
        };
        let Some(kind) = kind else { return Outcome::Nothing };
        // What is known without asking anybody takes no turn.
        let Some(_turn) = self.turns.take(uid) else { return Outcome::Failed(Because::too_many()) };
        let (addresses, ttl_s) = match self.heard(host.as_str(), kind).await {
            None => return Outcome::Failed(Because::failed()),
            Some((Heard::Nothing, _)) => return Outcome::Nothing,
            Some((Heard::NoName, _)) => return Outcome::NoName,
            Some((Heard::Addresses(addresses), ttl_s)) => (addresses, ttl_s),
        };
        let passed = match self.passed(uid, host.as_str(), private, addresses) {
            Ok(passed) => passed,
            Err(because) => return Outcome::KeptBack(because),
        };
        let ttl_s = ttl_s.clamp(*TTL_S.start(), *TTL_S.end());
        let ttl = Duration::from_secs((ttl_s + GRACE_S).into());
        if let Err(why) = self.learn.learn(uid, &host, &passed, ttl) {
            (self.events)(Event::NotLearnt { uid, why });
            return Outcome::Failed(Because::not_learnt());
        }
        Outcome::Addresses(passed, ttl_s)
    }

    /// Those that the app may be told; if there are none, why not the first.
    fn passed(
        &self,
        uid: u32,
        host: &str,
        private: bool,
        addresses: Vec<IpAddr>,
    ) -> Result<Vec<IpAddr>, Because> {
        let own: Vec<IpAddr> = {
            let net = self.net.borrow();
            net.links.iter().flat_map(|link| link.addresses.iter().map(|(address, _)| *address)).collect()
        };
        let (passed, kept): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|address| match class(*address, &own) {
                Class::Open => true,
                Class::Private => private,
                Class::Never(_) => false,
            });
        for address in &kept {
            let private = class(*address, &own) == Class::Private;
            (self.events)(Event::KeptBack { uid, host: host.to_owned(), address: *address, private });
        }
        match kept.first() {
            Some(address) if passed.is_empty() => {
                Err(Because::kept_back(host, *address, class(*address, &own)))
            }
            _ => Ok(passed),
        }
    }

    /// Addresses of a name that netd itself needs, whatever they are.
    pub async fn lookup(&self, host: &str, kind: Kind) -> Vec<IpAddr> {
        match self.heard(host, kind).await {
            Some((Heard::Addresses(addresses), _)) => addresses,
            _ => Vec::new(),
        }
    }

    /// From the cache, from whoever asks for the same already, or from a server.
    async fn heard(&self, host: &str, kind: Kind) -> Option<(Heard, u32)> {
        self.servers_are_the_same();
        let now_s = self.began.elapsed().as_secs();
        if let Some(known) = self.cache.borrow().find(host, kind, now_s) {
            return Some(known);
        }
        let key = (host.to_owned(), kind);
        if self.failed.borrow().get(&key).is_some_and(|until_s| *until_s > now_s) {
            return None;
        }
        let waiting = self.under_way.borrow().get(&key).cloned();
        if let Some(mut asking) = waiting {
            // Whoever asks may be ended before it has an answer.
            return asking.wait_for(Option::is_some).await.ok().and_then(|heard| heard.clone()).flatten();
        }
        let (tell, asking) = watch::channel(None);
        self.under_way.borrow_mut().insert(key.clone(), asking);
        let _over = Over { under_way: &self.under_way, key: key.clone() };
        let heard = self.ask(host, kind).await;
        let now_s = self.began.elapsed().as_secs();
        match &heard {
            Some((what, ttl_s)) => self.cache.borrow_mut().keep(host, kind, what.clone(), *ttl_s, now_s),
            None => {
                let mut failed = self.failed.borrow_mut();
                failed.retain(|_, until_s| *until_s > now_s);
                failed.insert(key, now_s + FAILED_S);
            }
        }
        tell.send_replace(Some(heard.clone()));
        heard
    }

    async fn ask(&self, host: &str, kind: Kind) -> Option<(Heard, u32)> {
        let servers = self.servers.borrow().clone();
        let transport = self.settings.borrow().transport.clone();
        let heard = upstream::ask(&servers, &transport, host, kind).await;
        self.health.send_if_modified(|health| health.replace(heard.is_some()) != Some(heard.is_some()));
        heard
    }

    /// Takes the servers as they are now. Others may know names otherwise: nothing of the former is kept.
    fn servers_are_the_same(&self) {
        let settings = self.settings.borrow();
        let servers = if settings.servers.is_empty() {
            let net = self.net.borrow();
            net.name_servers.iter().map(|address| upstream::server(*address, &settings.transport)).collect()
        } else {
            settings.servers.clone()
        };
        if *self.servers.borrow() != servers {
            self.cache.borrow_mut().clear();
            self.failed.borrow_mut().clear();
            *self.servers.borrow_mut() = servers;
        }
    }
}

const fn local(kind: Option<Kind>) -> IpAddr {
    match kind {
        Some(Kind::Aaaa) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// Whoever asks upstream is done, or was ended.
struct Over<'a> {
    under_way: &'a RefCell<BTreeMap<(String, Kind), Asking>>,
    key: (String, Kind),
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.under_way.borrow_mut().remove(&self.key);
    }
}
