//! Our side of the network: what `netd` is told of each box, and which boxes wait for it.
//!
//! Invariants: no box with a network is launched for the first time before netd has said that the kernel holds its
//! policy; a port is served by one app; what netd says is believed in its form and no further. netd may die at any time:
//! the rules are the kernel's, and the next netd is told everything again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use bus::network_link::{FromNetd, Grants, Refusal, ToNetd};
use firewall::Maps;
use policy::{Network, Plan, Port};

use super::Daemon;
use super::denied::Told;
use crate::console;
use crate::denied_network;
use crate::netfiles::{self, Whose};
use crate::network;
use crate::outbox::Outbox;
use crate::poller::Ready;
use crate::refusals::Verdict;
use crate::system;

/// Messages read before others have their turn.
const AT_ONCE: usize = 64;
/// Refused calls that may wait for a name.
const NAMELESS_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Net {
    /// The firewall's tables; `None` where there is no firewall, and then no box with a network.
    pub(super) tables: Option<Maps>,
    outbox: Outbox,
    /// It said `Hello`, or did to the sandboxd before us: it has the state, and gets what is new.
    greeted: bool,
    policies: BTreeMap<u32, Grants>,
    ports: BTreeMap<Port, u32>,
    /// Whose configuration netd was told last.
    config: Whose,
    /// Refused calls that wait for a name, each with its number.
    nameless: VecDeque<(u32, Told)>,
    asked: u32,
    taken: BTreeSet<u32>,
    /// Every manifest is read.
    complete: bool,
}

impl Net {
    /// With these tables, and nothing known yet.
    pub(super) fn with(tables: Option<Maps>) -> Self {
        Self { tables, ..Self::default() }
    }

    /// When to try again to send.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.outbox.deadline_ms()
    }
}

impl Daemon {
    /// A box's plan is known. Its policy is on its way to netd; the error says why it can have none, and what to do.
    pub(super) fn net_policy(&mut self, uid: u32, plan: &Plan) -> Result<(), (String, String)> {
        let Network::Device { listen, connect, private } = &plan.network else { return Ok(()) };
        if plan.system.is_some() {
            // The manager of the network itself, whose cgroup has no firewall.
            return Ok(());
        }
        for port in listen.iter().map(|listen| listen.port()) {
            if let Some(holder) = self.net.ports.get(&port).filter(|holder| **holder != uid) {
                let holder = self.apps.get(holder).map_or("another app", |app| app.id.as_str());
                return Err((
                    format!("port {port} is served by {holder} already"),
                    format!("a port belongs to one app: remove \"{port}\" from one of the two manifests"),
                ));
            }
        }
        if !listen.is_empty() {
            self.net.ports.extend(listen.iter().map(|listen| (listen.port(), uid)));
            self.net_reserve();
        }
        let grants = Grants {
            uid,
            id: plan.id.to_string(),
            connect: connect.iter().map(ToString::to_string).collect(),
            listen: listen.iter().map(ToString::to_string).collect(),
            private: private.iter().map(ToString::to_string).collect(),
            unfiltered: self.net_left_out(plan),
        };
        self.net_grants(grants);
        Ok(())
    }

    /// One of the system's own serves this port from now on; unless somebody does already, who is given.
    pub(super) fn net_serve(&mut self, port: Port, uid: u32) -> Option<String> {
        if let Some(holder) = self.net.ports.get(&port).filter(|holder| **holder != uid) {
            return Some(self.apps.get(holder).map_or("another app", |app| app.id.as_str()).to_owned());
        }
        self.net.ports.insert(port, uid);
        self.net_reserve();
        None
    }

    /// The box has no policy any more, and serves nothing.
    pub(super) fn net_release(&mut self, uid: u32) {
        self.net.taken.remove(&uid);
        if self.net.policies.remove(&uid).is_some() {
            self.net_send(ToNetd::Gone(uid));
        }
        let served = self.net.ports.len();
        self.net.ports.retain(|_, holder| *holder != uid);
        if self.net.ports.len() < served {
            self.net_reserve();
        }
    }

    /// Which ports are served, and by which boxes.
    pub(super) fn net_ports(&self) -> impl Iterator<Item = (&Port, &u32)> {
        self.net.ports.iter()
    }

    /// No client takes a port by chance that somebody was granted to serve.
    fn net_reserve(&self) {
        if let Err(e) = network::reserve(self.net.ports.keys().map(|port| port.number())) {
            console::say(format_args!("can not keep ports for those who serve them: {e}"));
        }
    }

    /// A box's policy is on its way to netd, in place of the one it had.
    pub(super) fn net_grants(&mut self, grants: Grants) {
        self.net.policies.insert(grants.uid, grants.clone());
        self.net_send(ToNetd::App(grants));
        self.net_wanted();
    }

    #[cfg(feature = "weak")]
    fn net_left_out(&self, plan: &Plan) -> bool {
        let app = self.app_dir(plan.id.as_str());
        crate::weak::missing(&app).is_ok_and(|missing| missing.has("firewall"))
    }

    #[cfg(not(feature = "weak"))]
    #[expect(clippy::unused_self, reason = "as in the build that tests single layers")]
    fn net_left_out(&self, _: &Plan) -> bool {
        false
    }

    /// netd is started once there is something for it to do.
    fn net_wanted(&mut self) {
        if let Some(at) = self.on_demand.iter().position(|id| id == system::NETD) {
            let id = self.on_demand.remove(at);
            self.install_system(&id);
        }
    }

    /// Whether the box may not be launched yet. It is once netd has its policy.
    pub(super) fn net_must_wait(&self, uid: u32) -> bool {
        self.net.policies.contains_key(&uid) && !self.net.taken.contains(&uid)
    }

    /// Every manifest was read.
    pub(super) fn net_complete(&mut self) {
        self.net.complete = true;
        if netfiles::config_is_there(&self.config) {
            self.net_wanted();
        }
        self.net_send(ToNetd::SyncEnd);
    }

    /// Takes the socket to netd; `fresh` when we started it, and it will say `Hello`.
    pub(super) fn net_opened(&mut self, socket: OwnedFd, fresh: bool) -> io::Result<()> {
        self.poller.watch(&socket, Ready::Netd)?;
        self.net.outbox.open(socket);
        self.net.greeted = false;
        if !fresh {
            self.net_state();
        }
        Ok(())
    }

    /// Tells everything from the beginning.
    fn net_state(&mut self) {
        self.net.outbox.clear();
        self.net.greeted = true;
        self.net_send(ToNetd::Sync);
        if self.net.tables.is_some() {
            self.net_send(ToNetd::Firewall);
        }
        self.net_config(Whose::Operator);
        if let Some(floor_s) = netfiles::floor(&self.config) {
            self.net_send(ToNetd::Floor(floor_s));
        }
        let policies: Vec<_> = self.net.policies.values().cloned().collect();
        policies.into_iter().for_each(|grants| self.net_send(ToNetd::App(grants)));
        if self.net.complete {
            self.net_send(ToNetd::SyncEnd);
        }
    }

    /// Tells the best configuration from these on.
    fn net_config(&mut self, from: Whose) {
        let (whose, text) = netfiles::config(&self.config, from);
        self.net.config = whose;
        self.net_send(ToNetd::Config(text));
    }

    /// Asks netd who is at the address of a refused call, which is then told; at once if netd can not be asked.
    pub(super) fn net_ask_name(&mut self, address: IpAddr, told: Told) {
        if !self.net.greeted || !self.net_is_told() || self.net.nameless.len() >= NAMELESS_MAX {
            return self.tell_named(&told, None);
        }
        self.net.asked = self.net.asked.wrapping_add(1);
        let (ask, uid) = (self.net.asked, told.uid());
        self.net.nameless.push_back((ask, told));
        self.net_send(ToNetd::Name { ask, uid, address });
    }

    fn net_named(&mut self, ask: u32, host: &str) {
        let at = self.net.nameless.iter().position(|(asked, _)| *asked == ask);
        if let Some((_, told)) = at.and_then(|at| self.net.nameless.remove(at)) {
            self.tell_named(&told, Some(host).filter(|host| !host.is_empty()));
        }
    }

    /// Before netd's `Hello` nothing is queued: that gets the whole state, the firewall before the policies.
    fn net_send(&mut self, message: ToNetd) {
        if !self.net.greeted {
            return;
        }
        let tables = self.net.tables.as_ref().filter(|_| message == ToNetd::Firewall);
        let fds = tables.iter().flat_map(|maps| maps.fds()).map(|fd| fd.try_clone_to_owned());
        match fds.collect() {
            Ok(fds) => self.net.outbox.push(message.encode(), fds),
            Err(e) => console::say(format_args!("can not hand netd the firewall: {e}")),
        }
    }

    pub(super) fn net_flush(&mut self) {
        self.net.outbox.flush();
    }

    /// Whether netd tells of what the firewall refuses: it runs.
    pub(super) fn net_is_told(&self) -> bool {
        system::uid(system::NETD).and_then(|uid| self.apps.get(&uid)).is_some_and(|netd| netd.pid().is_some())
    }

    /// Takes what netd says.
    pub(super) fn net_messages(&mut self) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let Some((bytes, _)) = self.net.outbox.receive() else { return Ok(()) };
            match FromNetd::decode(&bytes) {
                Some(FromNetd::Hello) => {
                    // The one before it took these questions along.
                    for (_, told) in std::mem::take(&mut self.net.nameless) {
                        self.tell_named(&told, None);
                    }
                    self.net_state();
                }
                Some(FromNetd::Taken(uid)) => self.net_taken(uid)?,
                Some(FromNetd::Refused(refusal)) => self.net_refused(&refusal),
                Some(FromNetd::Keep(floor_s)) => {
                    self.attest_clock();
                    if let Err(e) = netfiles::keep_floor(&self.config, floor_s) {
                        console::say(format_args!("can not keep the time: {e}"));
                    }
                }
                Some(FromNetd::Store(text)) => {
                    if let Err(e) = netfiles::keep_config(&self.config, &text) {
                        console::say(format_args!("can not keep network.toml: {e}"));
                    }
                }
                Some(FromNetd::Fault(text)) => self.net_config_fault(&text),
                Some(FromNetd::Name { ask, host }) => self.net_named(ask, &host),
                Some(FromNetd::Ipv6 { link, on }) => {
                    if let Err(e) = network::ipv6(&link, on) {
                        console::say(format_args!("can not switch IPv6 of {link}: {e}"));
                    }
                }
                None => console::say("event netd-nonsense: netd sent what is no message"),
            }
        }
        Ok(())
    }

    fn net_config_fault(&mut self, text: &str) {
        // Whoever finds a fault even in an empty one is told nothing more.
        if self.net.config != Whose::Nobody {
            netfiles::fault(self.net.config, text);
            self.net_config(self.net.config.next());
        }
    }

    fn net_taken(&mut self, uid: u32) -> io::Result<()> {
        if !self.net.policies.contains_key(&uid) {
            return Ok(());
        }
        self.net.taken.insert(uid);
        self.launch_if_it_waits(uid)
    }

    fn net_refused(&mut self, refusal: &Refusal) {
        let Some(app) = self.apps.get_mut(&refusal.uid) else { return };
        let text = denied_network::told(refusal);
        let told = app.refusals.add_many(&text, refusal.count, sys::process::now_ms());
        if let Verdict::Tell { count, suppressed } = told {
            self.tell_denied(refusal.uid, "", &text, count, suppressed);
        }
    }
}
