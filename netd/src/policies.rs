//! Each app's policy: from what `sandboxd` says to the kernel's tables, and what was refused back to it.
//!
//! What holds: an app that has no policy, or whose policy can not be read or written, reaches nothing. What netd knows and
//! what the kernel holds are the same after each message; between `Sync` and `SyncEnd` what is not named again is kept, and
//! removed at the end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use bus::devport::{DOOR, DOOR_PORT};
use bus::network_link::{Act, FromNetd, Grants, Refusal};
use firewall::Maps;
use firewall::tables::Direction;
use policy::Host;
use tokio::sync::{Notify, watch};

use crate::apps::{AppPolicy, Apps};
use crate::dns::{Event, Learn};
use crate::rules::{Listed, Refused, Rules, RulesError};

/// Different refusals of names that are gathered between two reports.
const GATHERED_MAX: usize = 64;
/// Addresses whose names are remembered; with more they are learnt anew.
const HOSTS_MAX: usize = 1024;
/// The kernel's number of UDP.
const UDP: u8 = 17;

/// See the module.
#[derive(Default)]
pub struct Policies {
    /// What each app was granted.
    pub apps: Rc<RefCell<Apps>>,
    rules: RefCell<Option<Rules>>,
    /// Uids named since `Sync`.
    named: RefCell<Option<BTreeSet<u32>>>,
    /// Which name of its manifest an app's address was learnt for.
    hosts: RefCell<BTreeMap<(u32, IpAddr), String>>,
    gathered: RefCell<BTreeMap<(u32, Act, String, String), u32>>,
    /// Where the door for a developer listens; 0 while there is none.
    pub door: watch::Sender<u16>,
    news: Notify,
    watched: Cell<bool>,
}

impl Policies {
    /// Takes the firewall's tables. A second set is that of the first again, from another sandboxd.
    ///
    /// # Errors
    /// They are no tables of the firewall, for people.
    pub fn firewall(&self, fds: Vec<OwnedFd>) -> Result<(), String> {
        if self.rules.borrow().is_some() {
            return Ok(());
        }
        let fds = fds.try_into().map_err(|_| "not as many tables as there are".to_owned())?;
        let maps = Maps::open(fds).map_err(|e| e.to_string())?;
        *self.rules.borrow_mut() = Some(Rules::open(maps).map_err(|e| told(&e))?);
        Ok(())
    }

    /// A state begins.
    pub fn sync(&self) {
        *self.named.borrow_mut() = Some(BTreeSet::new());
    }

    /// The state is whole: who was not named has no policy any more.
    pub fn sync_end(&self) {
        let Some(named) = self.named.borrow_mut().take() else { return };
        let known = self.rules.borrow().as_ref().and_then(|rules| rules.uids().ok()).unwrap_or_default();
        let all: BTreeSet<u32> = known.into_iter().chain(self.apps.borrow().keys().copied()).collect();
        for uid in all.difference(&named) {
            self.gone(*uid);
        }
    }

    /// Puts an app's policy in force.
    ///
    /// # Errors
    /// Why not, for people. The app then reaches nothing more than before.
    pub fn app(&self, grants: &Grants) -> Result<(), String> {
        if let Some(named) = &mut *self.named.borrow_mut() {
            named.insert(grants.uid);
        }
        let policy = read(grants)?;
        let mut rules = self.rules.borrow_mut();
        let rules = rules.as_mut().ok_or("there is no firewall")?;
        if grants.unfiltered {
            rules.let_pass(grants.uid).map_err(|e| told(&e))?;
        } else {
            rules.set(&policy).map_err(|e| told(&e))?;
        }
        if grants.id == DOOR {
            self.door.send_replace(DOOR_PORT);
        }
        self.apps.borrow_mut().insert(grants.uid, policy);
        Ok(())
    }

    /// An app has no policy any more.
    pub fn gone(&self, uid: u32) {
        let gone = self.apps.borrow_mut().remove(&uid);
        if gone.is_some_and(|gone| gone.id == DOOR) {
            self.door.send_replace(0);
        }
        self.hosts.borrow_mut().retain(|(other, _), _| *other != uid);
        if let Some(rules) = &mut *self.rules.borrow_mut()
            && let Err(e) = rules.remove(uid)
        {
            eprintln!("firewall: rules of uid {uid} can not be removed: {}", told(&e));
        }
    }

    /// A descriptor that is readable when the kernel has refused something; once.
    pub fn ring(&self) -> Option<OwnedFd> {
        let rules = self.rules.borrow();
        let rules = rules.as_ref().filter(|_| !self.watched.replace(true))?;
        rules.as_fd().try_clone_to_owned().ok()
    }

    /// Waits until the resolver has refused something.
    pub async fn noted(&self) {
        self.news.notified().await;
    }

    /// Clears what was learnt and is over.
    pub fn sweep(&self) {
        if let Some(rules) = &mut *self.rules.borrow_mut()
            && let Err(e) = rules.sweep()
        {
            eprintln!("firewall: {}", told(&e));
        }
    }

    /// The rules of one app, from the kernel.
    pub fn list(&self, uid: u32) -> Vec<Listed> {
        self.rules.borrow().as_ref().and_then(|rules| rules.list(uid).ok()).unwrap_or_default()
    }

    /// Which host of its manifest led an app to an address, as far as that is remembered.
    pub fn host(&self, uid: u32, address: IpAddr) -> Option<String> {
        self.hosts.borrow().get(&(uid, address.to_canonical())).cloned()
    }

    /// Notes what the resolver refused.
    pub fn note(&self, event: Event) {
        let (uid, act, peer, allow) = match event {
            Event::NotListed { uid, host } => {
                // What an app asks for may be anything: only what can be a host goes into a line for its manifest.
                let good = host.parse::<policy::Host>().is_ok();
                let allow = if good { format!("connect = [\"{host}:PORT/tcp\"]") } else { String::new() };
                (uid, Act::Resolve, if good { host } else { "(no host name)".to_owned() }, allow)
            }
            Event::KeptBack { uid, host, address, private } => {
                let allow = if private { format!("private = [\"{host}\"]") } else { String::new() };
                (uid, Act::Resolve, format!("{host} ({address})"), allow)
            }
            Event::NotLearnt { uid, why } => {
                eprintln!("names: an address for uid {uid} could not be allowed: {why}");
                return;
            }
        };
        let mut gathered = self.gathered.borrow_mut();
        let key = (uid, act, peer, allow);
        if gathered.len() < GATHERED_MAX || gathered.contains_key(&key) {
            *gathered.entry(key).or_default() += 1;
        }
        self.news.notify_one();
    }

    /// What was refused since the last time.
    pub fn refusals(&self) -> Vec<FromNetd> {
        let names = std::mem::take(&mut *self.gathered.borrow_mut());
        let named = names.into_iter().map(|((uid, act, peer, allow), count)| Refusal {
            uid,
            act,
            peer,
            port: 0,
            udp: false,
            count,
            allow,
        });
        let mut all: Vec<Refusal> = named.collect();
        if let Some(rules) = &mut *self.rules.borrow_mut() {
            let apps = self.apps.borrow();
            let hosts = self.hosts.borrow();
            all.extend(rules.refusals().iter().map(|refused| {
                let host = hosts.get(&(refused.uid, refused.address.to_canonical()));
                of_kernel(refused, apps.get(&refused.uid), host)
            }));
        }
        all.into_iter().map(FromNetd::Refused).collect()
    }
}

impl Learn for Rc<Policies> {
    fn learn(&self, uid: u32, host: &Host, addresses: &[IpAddr], ttl: Duration) -> Result<(), String> {
        let lines = self.apps.borrow().get(&uid).map(|policy| lines(policy, host)).unwrap_or_default();
        if lines.is_empty() {
            return Err(format!("its policy does not name {host} any more"));
        }
        let mut rules = self.rules.borrow_mut();
        let rules = rules.as_mut().ok_or("there is no firewall")?;
        for line in lines {
            rules.learn(uid, line, addresses, ttl).map_err(|e| told(&e))?;
        }
        let mut hosts = self.hosts.borrow_mut();
        if hosts.len() >= HOSTS_MAX {
            hosts.clear();
        }
        hosts.extend(addresses.iter().map(|address| ((uid, *address), host.to_string())));
        Ok(())
    }
}

/// The lines of `connect` that name a host.
fn lines(policy: &AppPolicy, host: &Host) -> Vec<u16> {
    let named = (0_u16..).zip(&policy.connect).filter(|(_, to)| to.host() == host);
    named.map(|(line, _)| line).collect()
}

/// A call that the firewall refused, with the line that would allow it.
fn of_kernel(refused: &Refused, policy: Option<&AppPolicy>, learnt: Option<&String>) -> Refusal {
    let udp = refused.protocol == UDP;
    let proto = if udp { "udp" } else { "tcp" };
    let port = refused.port;
    let address = refused.address.to_canonical();
    let host = match address {
        _ if learnt.is_some() => learnt.cloned().unwrap_or_default(),
        address if address.is_loopback() => "localhost".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let known = refused.protocol == UDP || refused.protocol == 6;
    let line = format!("{host}:{port}/{proto}");
    let listed = policy.is_some_and(|policy| policy.connect.iter().any(|to| to.to_string() == line));
    let (act, allow) = match refused.direction {
        _ if !known || port == 0 => (Act::Connect, String::new()),
        // The line is there: the time of the answer is over, or the address was never one.
        Direction::Connect if listed => (Act::Connect, "ask for the name again".to_owned()),
        Direction::Connect => (Act::Connect, format!("connect = [\"{line}\"]")),
        Direction::Listen | Direction::Inbound => (Act::Listen, format!("listen = [\"{port}/{proto}\"]")),
    };
    let act = if act == Act::Connect && udp { Act::Send } else { act };
    let count = u32::try_from(refused.count).unwrap_or(u32::MAX);
    let peer = learnt.cloned().unwrap_or_else(|| address.to_string());
    Refusal { uid: refused.uid, act, peer, port, udp, count, allow }
}

/// Reads what was checked when the manifest was.
fn read(grants: &Grants) -> Result<AppPolicy, String> {
    fn each<T: std::str::FromStr>(list: &[String]) -> Result<Vec<T>, String> {
        list.iter().map(|text| text.parse().map_err(|_| format!("{text} is no grant"))).collect()
    }
    Ok(AppPolicy {
        uid: grants.uid,
        id: grants.id.clone(),
        connect: each(&grants.connect)?,
        listen: each(&grants.listen)?,
        private: each(&grants.private)?,
    })
}

fn told(error: &RulesError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(direction: Direction, address: &str, port: u16, protocol: u8) -> Refused {
        Refused { uid: 7, direction, protocol, port, address: address.parse().unwrap(), count: 2, untold: 0 }
    }

    #[test]
    fn refusal_names_the_line_that_would_allow_it() {
        let of = |refused| {
            let Refusal { act, allow, .. } = of_kernel(&refused, None, None);
            (act, allow)
        };
        let line = |text: &str| text.to_owned();
        assert_eq!(
            of(refused(Direction::Connect, "192.0.2.1", 443, 6)),
            (Act::Connect, line("connect = [\"192.0.2.1:443/tcp\"]"))
        );
        assert_eq!(
            of(refused(Direction::Connect, "2001:db8::1", 53, 17)),
            (Act::Send, line("connect = [\"[2001:db8::1]:53/udp\"]"))
        );
        assert_eq!(
            of(refused(Direction::Connect, "::ffff:127.0.0.1", 80, 6)),
            (Act::Connect, line("connect = [\"localhost:80/tcp\"]"))
        );
        assert_eq!(
            of(refused(Direction::Listen, "0.0.0.0", 80, 6)),
            (Act::Listen, line("listen = [\"80/tcp\"]"))
        );
        assert_eq!(of(refused(Direction::Connect, "192.0.2.1", 0, 1)), (Act::Connect, String::new()));
    }

    #[test]
    fn refusal_of_an_address_that_was_learnt_names_its_host() {
        let host = "a.example".to_owned();
        let told = of_kernel(&refused(Direction::Connect, "192.0.2.1", 80, 6), None, Some(&host));
        assert_eq!(
            (told.peer.as_str(), told.allow.as_str()),
            ("a.example", "connect = [\"a.example:80/tcp\"]")
        );
    }

    #[test]
    fn refused_names_are_gathered_and_bounded() {
        let policies = Policies::default();
        for n in 0..1000 {
            policies.note(Event::NotListed { uid: 7, host: format!("h{}.example", n % 100) });
        }
        policies.note(Event::NotListed { uid: 7, host: "evil \"\n".to_owned() });
        let told = policies.refusals();
        assert_eq!(told.len(), GATHERED_MAX);
        assert!(told.iter().all(|message| FromNetd::decode(&message.encode()).is_some()));
        assert!(policies.refusals().is_empty());
    }

    #[test]
    fn lines_of_a_host_are_all_that_name_it() {
        let connect = ["a.example:1/tcp", "b.example:2/udp", "a.example:3/udp", "192.0.2.1:1/tcp"];
        let connect = connect.map(str::to_owned).to_vec();
        let policy = read(&Grants { uid: 7, connect, ..Grants::default() }).unwrap();
        assert_eq!(lines(&policy, &"a.example".parse().unwrap()), [0, 2]);
        assert_eq!(lines(&policy, &"c.example".parse().unwrap()), [0_u16; 0]);
    }

    #[test]
    fn address_of_a_host_that_the_policy_names_no_more_is_not_learnt() {
        let policies = Rc::new(Policies::default());
        let connect = vec!["b.example:22/tcp".to_owned()];
        let now = read(&Grants { uid: 7, connect, ..Grants::default() }).unwrap();
        policies.apps.borrow_mut().insert(7, now);
        let late = policies.learn(7, &"a.example".parse().unwrap(), &[[192, 0, 2, 1].into()], Duration::ZERO);
        assert!(late.unwrap_err().contains("does not name a.example any more"));
        assert!(policies.hosts.borrow().is_empty());
    }

    #[test]
    fn policy_without_a_firewall_is_refused_and_not_kept() {
        let policies = Policies::default();
        let grants = Grants { uid: 7, connect: vec!["a.example:1/tcp".to_owned()], ..Grants::default() };
        assert!(policies.app(&grants).is_err() && policies.apps.borrow().is_empty());
    }
}
