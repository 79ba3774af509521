//! The loop: asks when there is a way to servers, does what the core decides, and tells what came of it.
//!
//! Bounded: at most [`super::MOST_SERVERS`] questions at a time, each with a socket of its own for two seconds, and two
//! seconds at least between rounds that ask anybody, however often links change.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::rustls::RootCertStore;

use super::agree::Sample;
use super::ask::{Asked, ask, ask_secured};
use super::clock::Clock;
use super::discipline::{Change, Decision, Discipline};
use super::nts::establish::{Established, Trust, establish};
use super::nts::fields::Nonces;
use super::schedule::{DENIED_S, Schedule};
use super::wire::SECOND;
use super::{Lookup, MOST_SERVERS, PORT, Problem, Server, Settings, Source, TimeState, nts};
use crate::state::NetState;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// Addresses of one name with which keys are tried to be established in one round: each may take ten seconds.
const MOST_ESTABLISHED: usize = 2;

/// Between the starts of two rounds, at least, if the first asked anybody.
const BREATH: Duration = Duration::from_secs(2);

/// The same where there was no way to anybody, or no address: soon there is.
const SHORT_BREATH: Duration = Duration::from_millis(100);

/// How often the floor is kept: a write to the disk each time.
const KEEP_EVERY_NS: i64 = 3600 * SECOND;

/// What the others tell.
pub struct Inputs {
    /// Which servers.
    pub settings: watch::Receiver<Settings>,
    /// The time that was kept, seconds since 1970; 0 while it is not known.
    pub floor_s: watch::Receiver<i64>,
    /// The links.
    pub net: watch::Receiver<NetState>,
    /// By whom the certificates of servers with NTS are checked.
    pub roots: Arc<RootCertStore>,
    /// When this system was built, seconds since 1970: [`sys::time::BUILT_S`] but in tests.
    pub built_s: i64,
}

/// What is told.
pub struct Outputs {
    /// The state of the clock.
    pub state: watch::Sender<TimeState>,
    /// The time to be kept, seconds since 1970, at the first time from the network and hourly.
    pub keep_s: watch::Sender<i64>,
}

/// One server and how it did.
struct Asking {
    server: Server,
    addresses: Vec<SocketAddr>,
    session: Option<Established>,
    quiet_until_ns: i64,
}

/// Keeps the clock until one of those who tell something is gone.
///
/// # Errors
/// The kernel has no clock that can be read.
pub async fn run<C: Clock, L: Lookup>(
    mut inputs: Inputs,
    outputs: &Outputs,
    clock: &mut C,
    lookup: &L,
) -> io::Result<()> {
    let mut keeper = Keeper::start(&mut inputs, outputs, clock)?;
    let mut asking = Vec::new();
    loop {
        let way = Way::of(&inputs.net.borrow_and_update());
        keeper.update(&inputs, &mut asking)?;
        let next = match keeper.hindrance(&way, &asking) {
            Some(problem) => {
                keeper.tell(problem);
                None
            }
            None => {
                let start = Instant::now();
                let (has_asked, wait) = keeper.round(&mut asking, lookup).await?;
                let breath = if has_asked { BREATH } else { SHORT_BREATH };
                Some((start + breath, start + wait))
            }
        };
        if !changed(&mut inputs, &way, next).await {
            return Ok(());
        }
        if way != Way::of(&inputs.net.borrow()) {
            keeper.schedule.restart();
        }
    }
}

/// Waits for the next round: until its time, or until something it depends on changes, but never less than a breath.
async fn changed(inputs: &mut Inputs, way: &Way, next: Option<(Instant, Instant)>) -> bool {
    loop {
        let at = next.map(|(_, at)| at);
        let over = async {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            () = over => return true,
            told = inputs.settings.changed() => told,
            told = inputs.floor_s.changed() => told,
            told = inputs.net.changed() => {
                if told.is_ok() && *way == Way::of(&inputs.net.borrow_and_update()) {
                    continue;
                }
                told
            }
        };
        if told.is_err() {
            return false;
        }
        if let Some((breath, _)) = next {
            sleep_until(breath).await;
        }
        return true;
    }
}

/// The ways there are to servers and to their names. Addresses that come and go change nothing, the first of a family does.
#[derive(Debug, Default, PartialEq, Eq)]
struct Way {
    links: Vec<(u32, [bool; 4])>,
    time_servers: Vec<std::net::Ipv4Addr>,
    name_servers: Vec<IpAddr>,
}

impl Way {
    fn of(net: &NetState) -> Self {
        let links = net.links.iter().filter(|link| link.up && !link.loopback).filter_map(|link| {
            let routable = |address: &IpAddr| match address {
                IpAddr::V4(_) => true,
                IpAddr::V6(address) => !address.is_unicast_link_local(),
            };
            let addresses = || link.addresses.iter().map(|(address, _)| address).filter(|one| routable(one));
            let ways = [
                addresses().any(IpAddr::is_ipv4),
                addresses().any(IpAddr::is_ipv6),
                link.gateways.iter().any(IpAddr::is_ipv4),
                link.gateways.iter().any(IpAddr::is_ipv6),
            ];
            (ways[0] || ways[1]).then_some((link.index, ways))
        });
        let time_servers = net.time_servers.iter().copied().take(MOST_SERVERS).collect();
        let name_servers = net.name_servers.iter().copied().take(MOST_SERVERS).collect();
        Self { links: links.collect(), time_servers, name_servers }
    }
}

/// The core with what it acts on.
struct Keeper<'a, C> {
    discipline: Discipline,
    schedule: Schedule,
    outputs: &'a Outputs,
    clock: &'a mut C,
    built_s: i64,
    roots: Arc<RootCertStore>,
    kept_ns: Option<i64>,
}

impl<'a, C: Clock> Keeper<'a, C> {
    fn start(inputs: &mut Inputs, outputs: &'a Outputs, clock: &'a mut C) -> io::Result<Self> {
        let floor_s = inputs.built_s.max(*inputs.floor_s.borrow_and_update());
        let was_set = clock.is_synchronised();
        let discipline = Discipline::new(floor_s, clock.now()?, was_set);
        let source = if was_set { Source::Network } else { Source::Rtc };
        outputs.state.send_modify(|state| state.source = source);
        let (built_s, roots) = (inputs.built_s, inputs.roots.clone());
        let schedule = Schedule::default();
        let mut keeper = Self { discipline, schedule, outputs, clock, built_s, roots, kept_ns: None };
        keeper.lift()?;
        Ok(keeper)
    }

    /// Sets the clock to the floor if it is before it. Mostly `sandboxd` did before any app was there: then the floor is
    /// later than the time at which the device was switched on, by its clock.
    fn lift(&mut self) -> io::Result<()> {
        let now = self.clock.now()?;
        let was_lifted = now.real_ns.saturating_sub(now.local_ns) < self.discipline.floor_s() * SECOND;
        if let Some(offset_ns) = self.discipline.below_floor_ns(now) {
            match self.clock.step(offset_ns, None) {
                Ok(()) => self.outputs.state.send_modify(|state| {
                    *state = TimeState { source: Source::Floor, ..TimeState::default() };
                }),
                Err(_) => self.tell(Problem::Clock),
            }
        } else if was_lifted {
            self.outputs.state.send_if_modified(|state| {
                let by_floor = state.source == Source::Rtc;
                if by_floor {
                    state.source = Source::Floor;
                }
                by_floor
            });
        }
        Ok(())
    }

    fn update(&mut self, inputs: &Inputs, asking: &mut Vec<Asking>) -> io::Result<()> {
        let now = self.clock.now()?;
        self.discipline.raise(*inputs.floor_s.borrow(), now);
        self.lift()?;
        let servers = servers(&inputs.settings.borrow(), &inputs.net.borrow());
        if servers.iter().ne(asking.iter().map(|one| &one.server)) {
            *asking = servers
                .into_iter()
                .map(|server| Asking {
                    server,
                    addresses: Vec::new(),
                    session: None,
                    quiet_until_ns: i64::MIN,
                })
                .collect();
            self.schedule.restart();
        }
        Ok(())
    }

    fn hindrance(&self, way: &Way, asking: &[Asking]) -> Option<Problem> {
        if way.links.is_empty() {
            Some(Problem::NoLink)
        } else if asking.is_empty() {
            Some(Problem::NoServer)
        } else {
            None
        }
    }

    fn tell(&self, problem: Problem) {
        self.outputs.state.send_if_modified(|state| state.problem.replace(problem) != Some(problem));
    }

    /// Asks every server once. Whether anybody was asked, and the time from the start of this round to the next.
    async fn round<L: Lookup>(&mut self, asking: &mut [Asking], lookup: &L) -> io::Result<(bool, Duration)> {
        let start = Instant::now();
        let configured = asking.len();
        let mut samples: Vec<Sample> = Vec::with_capacity(configured);
        let now = self.clock.now()?;
        let start_ns = now.local_ns;
        let may_be_early = !self.discipline.was_set();
        let trust = Trust { roots: self.roots.clone(), now_s: now.real_ns / SECOND, may_be_early };
        let (trust, built_s) = (&trust, self.built_s);
        let slower_s = self.schedule.slower_s();
        let quiet_ns = |seconds: u64| start_ns + i64::try_from(seconds).unwrap_or(i64::MAX / 2) * SECOND;
        let mut questions = Questions::default();
        for (index, one) in asking.iter_mut().enumerate().filter(|(_, one)| one.quiet_until_ns <= start_ns) {
            questions.0.push(Box::pin(async move {
                let asked = match &one.server {
                    Server::Secured(_) => secured(index, one, lookup, trust, built_s).await,
                    Server::Name(_) | Server::Address(_) => question(index, one, lookup, built_s).await,
                };
                match asked {
                    Asked::Deny => one.quiet_until_ns = quiet_ns(DENIED_S),
                    Asked::Slower => one.quiet_until_ns = quiet_ns(slower_s),
                    Asked::Sample(_) | Asked::Nothing | Asked::NoRoute | Asked::Forgotten => {}
                }
                asked
            }));
        }
        let (mut decision, mut has_asked) = (None, false);
        while let Some(asked) = questions.next().await {
            has_asked |= asked != Asked::NoRoute;
            let Asked::Sample(sample) = asked else { continue };
            samples.push(sample);
            if let Some(step @ Decision::Step(_)) =
                self.discipline.early(&samples, configured, self.clock.now()?)
            {
                decision = Some(step);
                break;
            }
        }
        drop(questions);
        let decision = match decision {
            Some(decision) => decision,
            None => self.discipline.late(&samples, configured, self.clock.now()?),
        };
        self.act(&decision, asking)?;
        Ok((has_asked, start.elapsed() + spread(self.schedule.after(&decision))?))
    }

    fn act(&mut self, decision: &Decision, asking: &[Asking]) -> io::Result<()> {
        let (made, change) = match decision {
            Decision::Step(change) => (self.clock.step(change.offset_ns, Some(change.error_ns)), change),
            Decision::Slew(change) => {
                let interval = self.schedule.interval_log2_s();
                (self.clock.slew(change.offset_ns, change.error_ns, interval), change)
            }
            Decision::Wait(why) => {
                self.tell(Problem::Servers(*why));
                return Ok(());
            }
        };
        if made.is_err() {
            self.tell(Problem::Clock);
            return Ok(());
        }
        let now = self.clock.now()?;
        self.publish(change, asking, now.real_ns / SECOND);
        let floor_s = self.discipline.made(change, now);
        let is_due = self.kept_ns.is_none_or(|kept_ns| now.local_ns - kept_ns >= KEEP_EVERY_NS);
        if let Some(floor_s) = floor_s.filter(|_| is_due) {
            self.kept_ns = Some(now.local_ns);
            self.outputs.keep_s.send_replace(floor_s);
        }
        Ok(())
    }

    fn publish(&self, change: &Change, asking: &[Asking], now_s: i64) {
        self.outputs.state.send_replace(TimeState {
            source: Source::Network,
            server: asking.get(change.server).map(|one| one.server.to_string()),
            stratum: change.stratum,
            offset_us: change.offset_ns / 1000,
            error_us: change.error_ns / 1000,
            last_sync_s: Some(now_s),
            agreed: change.agreed,
            nts: change.is_authentic,
            problem: None,
        });
    }
}

/// The servers to ask: the configuration's, or else DHCP's.
fn servers(settings: &Settings, net: &NetState) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    let named = net.time_servers.iter().map(|address| Server::Address((*address, PORT).into()));
    let secured = settings.nts.iter().cloned().map(Server::Secured);
    let all: Box<dyn Iterator<Item = Server>> = match (settings.nts.as_slice(), settings.servers.as_slice()) {
        ([], []) => Box::new(named),
        ([], configured) => Box::new(configured.iter().cloned()),
        _ => Box::new(secured),
    };
    for server in all {
        // A server that is named twice has one vote.
        if servers.len() < MOST_SERVERS && !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

/// Asks one server at the first of its addresses that there is a route to; one that does not answer goes to the end.
async fn question<L: Lookup>(index: usize, one: &mut Asking, lookup: &L, built_s: i64) -> Asked {
    if one.addresses.is_empty() {
        one.addresses = match &one.server {
            Server::Address(address) => vec![*address],
            Server::Name(name) | Server::Secured(name) => {
                let found = lookup.lookup(name).await;
                found.into_iter().take(MOST_ADDRESSES).map(|address| (address, PORT).into()).collect()
            }
        };
    }
    while let Some(address) = one.addresses.first().copied() {
        let mut nonce = [0; 8];
        if sys::time::random::fill(&mut nonce).is_err() {
            return Asked::Nothing;
        }
        match ask(index, address, nonce, built_s).await {
            Asked::NoRoute => {
                one.addresses.remove(0);
            }
            Asked::Nothing => {
                // The name may have other addresses by now when all were tried.
                one.addresses.remove(0);
                return Asked::Nothing;
            }
            asked => return asked,
        }
    }
    Asked::NoRoute
}

/// Asks a server with NTS, after keys were established if there are none.
async fn secured<L: Lookup>(
    index: usize,
    one: &mut Asking,
    lookup: &L,
    trust: &Trust,
    built_s: i64,
) -> Asked {
    let Server::Secured(name) = &one.server else { return Asked::Nothing };
    if one.session.as_ref().is_none_or(|known| known.session.cookies.is_empty()) {
        one.session = None;
        let found = lookup.lookup(name).await;
        if found.is_empty() {
            return Asked::NoRoute;
        }
        for address in found.into_iter().take(MOST_ESTABLISHED) {
            let Ok(known) = establish(name, (address, nts::establish::PORT).into(), trust).await else {
                continue;
            };
            let server = match &known.server {
                None => Some(address),
                Some(other) => match other.parse() {
                    Ok(address) => Some(address),
                    Err(_) => lookup.lookup(other).await.first().copied(),
                },
            };
            let port = known.port.unwrap_or(PORT);
            one.addresses = server.into_iter().map(|server| (server, port).into()).collect();
            one.session = Some(known);
            break;
        }
    }
    let (Some(known), Some(address)) = (&mut one.session, one.addresses.first()) else {
        return Asked::Nothing;
    };
    let Ok(nonces) = nonces() else { return Asked::Nothing };
    let asked = ask_secured(index, *address, &mut known.session, &nonces, built_s).await;
    // What is silent may be so because it does not know the keys any more, and cannot say so.
    if known.is_provisional || matches!(asked, Asked::Nothing | Asked::Forgotten | Asked::NoRoute) {
        one.session = None;
    }
    asked
}

fn nonces() -> io::Result<Nonces> {
    let mut nonces = Nonces { origin: [0; 8], unique: [0; 32], cipher: [0; 16] };
    sys::time::random::fill(&mut nonces.origin)?;
    sys::time::random::fill(&mut nonces.unique)?;
    sys::time::random::fill(&mut nonces.cipher)?;
    Ok(nonces)
}

/// Seconds, up to an eighth longer: devices that lost power together do not ask together for ever.
fn spread(seconds: u64) -> io::Result<Duration> {
    let mut random = [0; 2];
    sys::time::random::fill(&mut random)?;
    let milliseconds = seconds * 1000;
    let more = milliseconds / 8 * u64::from(u16::from_le_bytes(random)) / 65_536;
    Ok(Duration::from_millis(milliseconds + more))
}

/// Questions that are under way, all within this one task.
#[derive(Default)]
struct Questions<'a>(Vec<Pin<Box<dyn Future<Output = Asked> + 'a>>>);

impl Questions<'_> {
    /// The next one that ends; `None` when all did.
    async fn next(&mut self) -> Option<Asked> {
        poll_fn(|context| {
            if self.0.is_empty() {
                return Poll::Ready(None);
            }
            for index in 0..self.0.len() {
                if let Poll::Ready(asked) = self.0[index].as_mut().poll(context) {
                    drop(self.0.swap_remove(index));
                    return Poll::Ready(Some(asked));
                }
            }
            Poll::Pending
        })
        .await
    }
}
