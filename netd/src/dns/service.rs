//! The road from a question to an answer: may it be asked, what is known, asking, keeping back, learning.
//!
//! What holds: of an address that an app is told, the firewall's table knew before. One question is asked upstream once,
//! however many wait for it. Each app has so many questions under way at most, and all together so many. What servers said
//! is theirs, and the network's they were on: when others are named, or another way to ask them, or the device is connected
//! otherwise, nothing of it is kept, nor comes in later. (Two networks may have a server at the same address.)

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use policy::Host;
use tokio::sync::watch;
use tokio::time::Instant;

use super::address::{Class, class};
use super::answer::Answered;
use super::because::Because;
use super::cache::{Cache, Heard};
use super::decide::{Decision, decide};
use super::transport::{Certificates, Transport, server};
use super::trouble::{Fault, Trouble};
use super::turns::Turns;
use super::upstream::{Said, Upstream};
use super::{Kind, TTL_S};
use crate::apps::AppPolicy;
use crate::state::{Link, NetState};

/// Questions of one app that are under way at once.
const ONE_MAX: usize = 16;
/// Those of all apps.
const ALL_MAX: usize = 128;
/// How much longer an address may be connected to than the app was told: an app connects some time after it asked.
const GRACE_S: u32 = 5;
/// How long a failure is remembered, seconds: whoever asks in a loop asks nobody else.
const FAILED_S: u64 = 1;
/// How often one question is asked anew because others are to be asked. A link that comes up changes some times.
const MOVES_MAX: usize = 8;

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

/// Whether servers answered the last time that one was asked, or why not; `None` before.
pub type Health = Option<Result<(), Trouble>>;

/// How the device is connected: links that are up, with their addresses and routers.
type Ground = Vec<(u32, Vec<IpAddr>, Vec<IpAddr>)>;

type Asking = watch::Receiver<Option<Result<Said, Trouble>>>;

/// The resolver.
pub struct Resolver<L> {
    settings: watch::Receiver<Settings>,
    net: watch::Receiver<NetState>,
    learn: L,
    events: Box<dyn Fn(Event)>,
    cache: RefCell<Cache>,
    under_way: RefCell<BTreeMap<(String, Kind), Asking>>,
    failed: RefCell<BTreeMap<(String, Kind), (u64, Trouble)>>,
    turns: Rc<Turns>,
    health: watch::Sender<Health>,
    upstream: RefCell<Rc<Upstream>>,
    ground: RefCell<Ground>,
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
            upstream: RefCell::new(Rc::new(Upstream::new(Vec::new(), Transport::Plain))),
            ground: RefCell::default(),
            began: Instant::now(),
        })
    }

    /// How the servers do.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Follows changes for ever: a cable that was pulled and plugged in elsewhere is another network, whether somebody asked
    /// in between or not.
    pub async fn follow(&self) {
        let (mut settings, mut net) = (self.settings.clone(), self.net.clone());
        loop {
            self.upstream();
            tokio::select! {
                () = told(&mut settings) => {}
                () = told(&mut net) => {}
            }
        }
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
            Err(trouble) => return Outcome::Failed(Because::failed(&trouble)),
            Ok((Heard::Nothing, _)) => return Outcome::Nothing,
            Ok((Heard::NoName, _)) => return Outcome::NoName,
            Ok((Heard::Addresses(addresses), ttl_s)) => (addresses, ttl_s),
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
        addresses(self.heard(host, kind).await)
    }

    /// The same for whoever is about to learn the time: a server's certificate that is not valid yet is as good as one that
    /// is. What is heard so is told to nobody else, and not kept.
    pub async fn lookup_early(&self, host: &str, kind: Kind) -> Vec<IpAddr> {
        let upstream = self.upstream();
        if !upstream.has_certificates() {
            return self.lookup(host, kind).await;
        }
        let heard = upstream.ask(host, kind, Certificates::PerhapsEarly).await;
        if Rc::ptr_eq(&upstream, &self.upstream()) {
            self.note(&heard);
        }
        addresses(heard)
    }

    /// From the cache, from whoever asks for the same already, or from a server.
    async fn heard(&self, host: &str, kind: Kind) -> Result<Said, Trouble> {
        let key = (host.to_owned(), kind);
        loop {
            self.upstream();
            let now_s = self.now_s();
            if let Some(known) = self.cache.borrow().find(host, kind, now_s) {
                return Ok(known);
            }
            if let Some((until_s, trouble)) = self.failed.borrow().get(&key)
                && *until_s > now_s
            {
                return Err(trouble.clone());
            }
            let waiting = self.under_way.borrow().get(&key).cloned();
            let Some(mut asking) = waiting else { return self.first(key).await };
            if let Ok(heard) = asking.wait_for(Option::is_some).await
                && let Some(heard) = heard.clone()
            {
                return heard;
            }
            // Whoever asked was ended before it had an answer.
        }
    }

    /// Asks for those who come later, too.
    async fn first(&self, key: (String, Kind)) -> Result<Said, Trouble> {
        let (tell, asking) = watch::channel(None);
        self.under_way.borrow_mut().insert(key.clone(), asking);
        let over = Over { under_way: &self.under_way, key: &key };
        let heard = self.ask(&key.0, key.1).await;
        drop(over);
        let now_s = self.now_s();
        match &heard {
            Ok((what, ttl_s)) => self.cache.borrow_mut().keep(&key.0, key.1, what.clone(), *ttl_s, now_s),
            Err(trouble) => {
                let mut failed = self.failed.borrow_mut();
                failed.retain(|_, (until_s, _)| *until_s > now_s);
                failed.insert(key, (now_s + FAILED_S, trouble.clone()));
            }
        }
        tell.send_replace(Some(heard.clone()));
        heard
    }

    /// Asks the servers as they are when they answer: what others said, or are about to say, does not count.
    async fn ask(&self, host: &str, kind: Kind) -> Result<Said, Trouble> {
        let mut trouble = Trouble::Unsettled;
        for _ in 0..MOVES_MAX {
            let upstream = self.upstream();
            let heard = tokio::select! {
                heard = upstream.ask(host, kind, Certificates::Now) => heard,
                () = self.moved(&upstream) => continue,
            };
            if !Rc::ptr_eq(&upstream, &self.upstream()) {
                continue;
            }
            self.note(&heard);
            match heard {
                Ok(said) => return Ok(said),
                Err(why) => trouble = why,
            }
            break;
        }
        Err(trouble)
    }

    fn note(&self, heard: &Result<Said, Trouble>) {
        let has_answered = matches!(*self.health.borrow(), Some(Ok(())));
        let health = match heard {
            Ok(_) => Ok(()),
            // It answers; of this name it can not say anything. If it never could, it is of no use.
            Err(Trouble::Server(_, Fault::Unable)) if has_answered => return,
            Err(trouble) => Err(trouble.clone()),
        };
        self.health.send_if_modified(|known| {
            if known.as_ref() == Some(&health) {
                return false;
            }
            if let Err(trouble) = &health {
                eprintln!("names: {trouble}");
            }
            *known = Some(health);
            true
        });
    }

    /// Waits until other servers are to be asked, or otherwise.
    async fn moved(&self, asked: &Rc<Upstream>) {
        let (mut settings, mut net) = (self.settings.clone(), self.net.clone());
        loop {
            settings.mark_unchanged();
            net.mark_unchanged();
            if !Rc::ptr_eq(asked, &self.upstream()) {
                return;
            }
            tokio::select! {
                () = told(&mut settings) => {}
                () = told(&mut net) => {}
            }
        }
    }

    /// The servers as they are now. Others may know names otherwise: nothing of the former is kept.
    fn upstream(&self) -> Rc<Upstream> {
        let settings = self.settings.borrow();
        let servers = if settings.servers.is_empty() {
            let net = self.net.borrow();
            net.name_servers.iter().map(|address| server(*address, &settings.transport)).collect()
        } else {
            settings.servers.clone()
        };
        let ground = ground(&self.net.borrow());
        let is_other = self.ground.replace_with(|_| ground.clone()) != ground;
        let mut upstream = self.upstream.borrow_mut();
        if is_other || !upstream.is(&servers, &settings.transport) {
            self.cache.borrow_mut().clear();
            self.failed.borrow_mut().clear();
            self.health.send_if_modified(|health| health.take().is_some());
            *upstream = Rc::new(Upstream::new(servers, settings.transport.clone()));
        }
        upstream.clone()
    }

    fn now_s(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

fn ground(net: &NetState) -> Ground {
    let links = net.links.iter().filter(|link| link.up && !link.loopback);
    let addresses = |link: &Link| link.addresses.iter().map(|(address, _)| *address).collect();
    links.map(|link| (link.index, addresses(link), link.gateways.clone())).collect()
}

fn addresses(heard: Result<Said, Trouble>) -> Vec<IpAddr> {
    match heard {
        Ok((Heard::Addresses(addresses), _)) => addresses,
        _ => Vec::new(),
    }
}

/// Waits until something is told; for ever, if nobody is there to tell it.
async fn told<T>(what: &mut watch::Receiver<T>) {
    if what.changed().await.is_err() {
        std::future::pending::<()>().await;
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
    key: &'a (String, Kind),
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.under_way.borrow_mut().remove(self.key);
    }
}
