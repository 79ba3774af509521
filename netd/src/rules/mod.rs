//! Each app's rules, in the kernel's tables.
//!
//! The kernel's tables are the truth: they outlive this process, and [`Rules::open`] takes up what the one before left.
//! What holds, in whatever moment this process dies: rules count only when their generation is the one of their app's
//! entry, and that is written last and in one step; a uid that is used again finds nothing of the one before, because what
//! does not count is cleared before anything is written for it.
//!
//! What an attacker controls: an app chose its lines, within what a manifest may say; whoever answers for its names
//! chooses which and how many addresses are learnt, up to [`LEARNT_MAX`] for each app.
//!
//! What is not done here: which answers may be learnt (that is the resolver's part), and telling people.

mod learnt;
mod refused;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use std::{fmt, io};

use firewall::Maps;
use firewall::tables::{App, Direction, Key, Rule, mapped};
use policy::HostPort;
use sys::bpf::map::{Map, Write};
use sys::bpf::ring::Ring;

use crate::apps::AppPolicy;
use learnt::Learnt;
pub use learnt::{LEARNT_MAX, TTL_MAX, TTL_MIN};
pub use refused::Refused;

/// How long a learnt rule stays in the table after its time, so that what it counted can still be seen.
const KEPT_NS: u64 = 60_000_000_000;
/// Size of an entry of UDP under way: its key begins with the uid.
const FLOW: (usize, usize) = (8, 32);

/// The rules of all apps.
#[derive(Debug)]
pub struct Rules {
    apps: Map,
    rules: Map,
    flows: Map,
    ring: Ring,
    boxes: BTreeMap<u32, Box>,
}

/// What this process knows of one box.
#[derive(Debug)]
struct Box {
    generation: u32,
    connect: Vec<HostPort>,
    learnt: Learnt,
}

/// One rule, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it allows.
    pub key: Key,
    /// Its line, its time and what it counted.
    pub rule: Rule,
}

/// What went wrong.
#[derive(Debug)]
pub enum RulesError {
    /// The table of apps can't be read or written.
    Apps(io::Error),
    /// The table of rules can't be read or written, or is full.
    Table(io::Error),
    /// The table of UDP under way can't be read or written.
    Flows(io::Error),
    /// The ring of refusals can't be mapped.
    Ring(io::Error),
    /// The clock can't be read.
    Clock(io::Error),
    /// Another box serves the port.
    PortTaken(u16, u32),
    /// This process was not told of the box, or the box has no such line.
    Unknown(u32),
}

type Result<T> = std::result::Result<T, RulesError>;

impl Rules {
    /// Takes up the tables as they are, and clears what does not count.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open(maps: Maps) -> Result<Self> {
        let ring = Ring::open(maps.refusals).map_err(RulesError::Ring)?;
        let mut open =
            Self { apps: maps.apps, rules: maps.rules, flows: maps.flows, ring, boxes: BTreeMap::new() };
        let apps = open.apps()?;
        let current = |key: &Key| apps.get(&key.uid).is_some_and(|app| app.generation == key.generation);
        for (key, rule) in open.all()? {
            if !current(&key) {
                open.delete(&key)?;
            } else if rule.expiry_ns != 0 {
                open.known(key.uid, key.generation).learnt.found(key, rule.expiry_ns);
            }
        }
        open.forget_flows(|uid| !apps.contains_key(&uid))?;
        Ok(open)
    }

    /// Puts an app's policy in force, in one step; what was in force before is until then, and nothing of it after. Of the
    /// same policy as before, what was learnt stays.
    ///
    /// # Errors
    /// The step that failed. The policy of before is then still in force.
    pub fn set(&mut self, policy: &AppPolicy) -> Result<()> {
        let digest = wanted::digest(policy);
        let uid = policy.uid;
        let before = self.app(uid)?;
        if let Some(app) = before.filter(|app| app.policy == digest && !app.unfiltered) {
            self.known(uid, app.generation).connect = policy.connect.clone();
            return Ok(());
        }
        let generation = before.map_or(1, |app| app.generation.wrapping_add(1).max(1));
        let wanted = wanted::rules(policy, generation);
        self.ports_are_free(uid, &wanted)?;
        self.clear(uid, before.map(|app| app.generation))?;
        for (key, rule) in &wanted {
            self.rules.update(&key.encode(), &rule.encode(), Write::Any).map_err(RulesError::Table)?;
        }
        self.switch(uid, App { generation, unfiltered: false, policy: digest })?;
        self.clear(uid, Some(generation))?;
        self.forget_flows(|other| other == uid)?;
        let connect = policy.connect.clone();
        self.boxes.insert(uid, Box { generation, connect, learnt: Learnt::default() });
        Ok(())
    }

    /// Asks nothing of a box: of netd itself, and in a test build of one that lacks this layer.
    ///
    /// # Errors
    /// The step that failed.
    pub fn let_pass(&mut self, uid: u32) -> Result<()> {
        let generation = self.app(uid)?.map_or(1, |app| app.generation.wrapping_add(1).max(1));
        self.switch(uid, App { generation, unfiltered: true, policy: [0; 2] })?;
        self.boxes.remove(&uid);
        self.clear(uid, None)
    }

    /// Ends a box's policy: from the first step on nothing of it goes out or comes in.
    ///
    /// # Errors
    /// The step that failed; [`Rules::open`] and [`Rules::set`] clear what it left.
    pub fn remove(&mut self, uid: u32) -> Result<()> {
        self.boxes.remove(&uid);
        self.apps.delete(&uid.to_le_bytes()).map_err(RulesError::Apps)?;
        self.clear(uid, None)?;
        self.forget_flows(|other| other == uid)
    }

    /// Every uid that has an entry: after a restart, of those that have no policy any more [`Rules::remove`] is due.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn uids(&self) -> Result<Vec<u32>> {
        Ok(self.apps()?.into_keys().collect())
    }

    /// Lets the app reach `addresses` by its line `connect[line]` for `ttl`, within [`TTL_MIN`] and [`TTL_MAX`]. Returns
    /// when the kernel knows. Beyond [`LEARNT_MAX`] addresses the one that was learnt longest ago goes.
    ///
    /// # Errors
    /// A box or line that is not known; the step that failed.
    pub fn learn(&mut self, uid: u32, line: u16, addresses: &[IpAddr], ttl: Duration) -> Result<()> {
        let known = self.boxes.get_mut(&uid).ok_or(RulesError::Unknown(uid))?;
        let place = known.connect.get(usize::from(line)).ok_or(RulesError::Unknown(uid))?;
        let (port, protocol) = (place.port().number(), wanted::protocol(place.port().proto()));
        let until = sys::bpf::clock_ns().map_err(RulesError::Clock)?.saturating_add(learnt::bounded_ns(ttl));
        let mut gone = Vec::new();
        for address in addresses {
            let address = mapped(*address);
            let generation = known.generation;
            let key = Key { uid, generation, direction: Direction::Connect, protocol, port, address };
            let there = self.rules.lookup(&key.encode()).map_err(RulesError::Table)?;
            let mut rule = there.map_or(Rule { line, ..Rule::default() }, |bytes| Rule::decode(&bytes));
            if there.is_some() && rule.expiry_ns == 0 {
                continue;
            }
            rule.expiry_ns = rule.expiry_ns.max(until);
            gone.extend(known.learnt.add(key, rule.expiry_ns));
            self.rules.update(&key.encode(), &rule.encode(), Write::Any).map_err(RulesError::Table)?;
        }
        gone.iter().try_for_each(|key| self.delete(key))
    }

    /// Clears what was learnt and is over. Once a minute is enough: the kernel looks at the time itself.
    ///
    /// # Errors
    /// The step that failed.
    pub fn sweep(&mut self) -> Result<()> {
        let now = sys::bpf::clock_ns().map_err(RulesError::Clock)?;
        let over: Vec<Key> = self
            .boxes
            .values_mut()
            .flat_map(|known| known.learnt.over(now.saturating_sub(KEPT_NS)))
            .collect();
        over.iter().try_for_each(|key| self.delete(key))
    }

    /// The rules of one box that count, with what they counted, from the kernel; by direction, protocol, port, address.
    ///
    /// # Errors
    /// The tables can't be read.
    pub fn list(&self, uid: u32) -> Result<Vec<Listed>> {
        let Some(app) = self.app(uid)? else { return Ok(Vec::new()) };
        let ours = |key: &Key| key.uid == uid && key.generation == app.generation;
        let mut listed: Vec<Listed> =
            self.all()?.into_iter().map(|(key, rule)| Listed { key, rule }).collect();
        listed.retain(|listed| ours(&listed.key));
        listed.sort_by_key(|listed| listed.key);
        Ok(listed)
    }

    /// What was refused since the last time. The descriptor ([`AsFd`]) is readable when there is something.
    pub fn refusals(&mut self) -> Vec<Refused> {
        refused::gathered(std::iter::from_fn(|| self.ring.take()))
    }

    fn known(&mut self, uid: u32, generation: u32) -> &mut Box {
        let new = || Box { generation, connect: Vec::new(), learnt: Learnt::default() };
        self.boxes.entry(uid).or_insert_with(new)
    }

    fn app(&self, uid: u32) -> Result<Option<App>> {
        let found = self.apps.lookup(&uid.to_le_bytes()).map_err(RulesError::Apps)?;
        Ok(found.map(|bytes| App::decode(&bytes)))
    }

    fn switch(&self, uid: u32, app: App) -> Result<()> {
        self.apps.update(&uid.to_le_bytes(), &app.encode(), Write::Any).map_err(RulesError::Apps)
    }

    fn apps(&self) -> Result<BTreeMap<u32, App>> {
        let entries = self.apps.entries().map_err(RulesError::Apps)?;
        Ok(entries.into_iter().map(|(uid, app)| (u32::from_le_bytes(uid), App::decode(&app))).collect())
    }

    fn all(&self) -> Result<Vec<(Key, Rule)>> {
        let entries = self.rules.entries().map_err(RulesError::Table)?;
        let read = |(key, rule)| Some((Key::decode(&key)?, Rule::decode(&rule)));
        Ok(entries.into_iter().filter_map(read).collect())
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.rules.delete(&key.encode()).map(|_| ()).map_err(RulesError::Table)
    }

    /// Clears the rules of a box but those of one generation.
    fn clear(&self, uid: u32, but: Option<u32>) -> Result<()> {
        let all = self.all()?;
        let mut over = all.iter().filter(|(key, _)| key.uid == uid && Some(key.generation) != but);
        over.try_for_each(|(key, _)| self.delete(key))
    }

    fn forget_flows(&self, which: impl Fn(u32) -> bool) -> Result<()> {
        let entries = self.flows.entries::<{ FLOW.0 }, { FLOW.1 }>().map_err(RulesError::Flows)?;
        for (key, _) in &entries {
            let uid = key.first_chunk().map_or(0, |uid| u32::from_le_bytes(*uid));
            if which(uid) {
                self.flows.delete(key).map_err(RulesError::Flows)?;
            }
        }
        Ok(())
    }

    /// A port is one box's alone.
    fn ports_are_free(&self, uid: u32, wanted: &[(Key, Rule)]) -> Result<()> {
        let served = |key: &Key| (key.direction == Direction::Listen).then_some((key.protocol, key.port));
        let ours: BTreeSet<_> = wanted.iter().filter_map(|(key, _)| served(key)).collect();
        if ours.is_empty() {
            return Ok(());
        }
        let apps = self.apps()?;
        for (key, _) in self.all()? {
            let counts = apps.get(&key.uid).is_some_and(|app| app.generation == key.generation);
            if counts && key.uid != uid && served(&key).is_some_and(|port| ours.contains(&port)) {
                return Err(RulesError::PortTaken(key.port, key.uid));
            }
        }
        Ok(())
    }
}

impl AsFd for Rules {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apps(_) => f.write_str("the firewall's table of apps fails"),
            Self::Table(_) => f.write_str("the firewall's table of rules fails"),
            Self::Flows(_) => f.write_str("the firewall's table of UDP under way fails"),
            Self::Ring(_) => f.write_str("the firewall's ring of refusals can't be mapped"),
            Self::Clock(_) => f.write_str("the clock can't be read"),
            Self::PortTaken(port, uid) => write!(f, "port {port} is served by the box of uid {uid}"),
            Self::Unknown(uid) => write!(f, "no policy, or no such line, of uid {uid}"),
        }
    }
}

impl std::error::Error for RulesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Apps(e) | Self::Table(e) | Self::Flows(e) | Self::Ring(e) | Self::Clock(e) => Some(e),
            Self::PortTaken(..) | Self::Unknown(_) => None,
        }
    }
}
