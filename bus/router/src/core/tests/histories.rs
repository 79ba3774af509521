//! Generated histories, and what must hold in each of them.

use std::collections::BTreeMap;

use bus::control::{Grant, Key, Verdict};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::super::*;
use super::world::{CALLERS, INTERFACES, LIMITS, Object, Router, SERVERS, World, key};

#[derive(Clone, Debug)]
enum Step {
    Call(u32, usize),
    EndCall(Index),
    Decide(u32, usize, Verdict),
    MakeBox(u32, usize),
    DropBox(u32, usize),
    MakeServe(u32, usize),
    DropServe(u32, usize),
    Serve(u32, usize),
    EndProcess(Index),
    ServerReads(Index),
    ServersRead,
    ServerEndsCall(Index),
    Report(Index, Vec<u8>),
    Monitor(bool),
    SandboxdReads(u8),
    KillSandboxd(usize),
    StartSandboxd,
    RouterHears(u8),
    RouterPolls(u8),
    RouterActs(u8),
    KillRouter,
    StartRouter,
    Quiet,
    Wait(u16),
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let grant = (select(&SERVERS[..]), subsequence(vec!["A", "B"], 1..=2)).prop_map(|(server, methods)| {
        let methods = methods.into_iter().map(str::to_owned).collect();
        Verdict::Granted(Grant { server, methods, limits: LIMITS })
    });
    prop_oneof![1 => Just(Verdict::Undecided), 1 => Just(Verdict::Refused("no".into())), 6 => grant]
}

fn step() -> impl Strategy<Value = Step> {
    let caller = || (select(&CALLERS[..]), 0..INTERFACES.len());
    let server = || (select(&SERVERS[..]), 0..INTERFACES.len());
    let report = prop_oneof![
        "(refused|dropped|called) [0-9]{1,8} [A-Z]".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..9)
    ];
    prop_oneof![
        12 => caller().prop_map(|(uid, i)| Step::Call(uid, i)),
        3 => any::<Index>().prop_map(Step::EndCall),
        5 => (caller(), verdict()).prop_map(|((uid, i), verdict)| Step::Decide(uid, i, verdict)),
        1 => caller().prop_map(|(uid, i)| Step::MakeBox(uid, i)),
        1 => caller().prop_map(|(uid, i)| Step::DropBox(uid, i)),
        1 => server().prop_map(|(uid, i)| Step::MakeServe(uid, i)),
        1 => server().prop_map(|(uid, i)| Step::DropServe(uid, i)),
        4 => server().prop_map(|(uid, i)| Step::Serve(uid, i)),
        1 => any::<Index>().prop_map(Step::EndProcess),
        3 => any::<Index>().prop_map(Step::ServerReads),
        3 => Just(Step::ServersRead),
        2 => any::<Index>().prop_map(Step::ServerEndsCall),
        2 => (any::<Index>(), report).prop_map(|(link, bytes)| Step::Report(link, bytes)),
        1 => any::<bool>().prop_map(Step::Monitor),
        8 => (1u8..6).prop_map(Step::SandboxdReads),
        1 => prop_oneof![Just(0), 0usize..30].prop_map(Step::KillSandboxd),
        2 => Just(Step::StartSandboxd),
        8 => (1u8..20).prop_map(Step::RouterHears),
        8 => (1u8..6).prop_map(Step::RouterPolls),
        12 => (1u8..12).prop_map(Step::RouterActs),
        1 => Just(Step::KillRouter),
        2 => Just(Step::StartRouter),
        4 => Just(Step::Quiet),
        4 => (0u16..12_000).prop_map(Step::Wait),
    ]
}

impl World {
    fn play(&mut self, step: Step) {
        match step {
            Step::Call(uid, i) => drop(self.call(&key(uid, i))),
            Step::EndCall(index) if !self.calls.is_empty() => self.end_call(index.index(self.calls.len())),
            Step::Decide(uid, i, verdict) => self.decide(&key(uid, i), verdict),
            Step::MakeBox(uid, i) => self.make_box(uid, i),
            Step::DropBox(uid, i) => self.drop_box(&key(uid, i)),
            Step::MakeServe(uid, i) => self.make_serve(uid, i),
            Step::DropServe(uid, i) => self.drop_serve(&key(uid, i)),
            Step::Serve(uid, i) => self.serve(&key(uid, i)),
            Step::EndProcess(index) if !self.processes.is_empty() => {
                self.end_process(index.index(self.processes.len()));
            }
            Step::ServerReads(index) if !self.links.is_empty() => {
                self.server_reads(index.index(self.links.len()))
            }
            Step::ServersRead => self.servers_read(),
            Step::ServerEndsCall(index) if !self.calls.is_empty() => {
                let call = index.index(self.calls.len());
                if !self.calls[call].has.is_empty() {
                    self.end_call(call);
                }
            }
            Step::Report(index, bytes) if !self.links.is_empty() => {
                self.report(index.index(self.links.len()), &bytes);
            }
            Step::Monitor(on) => self.set_monitor(on),
            Step::SandboxdReads(n) => (0..n).for_each(|_| _ = self.sandboxd_reads()),
            Step::KillSandboxd(unsent) => self.kill_sandboxd(unsent),
            Step::StartSandboxd => self.start_sandboxd(),
            Step::RouterHears(n) => (0..n).for_each(|_| _ = self.router_hears()),
            Step::RouterPolls(n) => (0..n).for_each(|_| _ = self.router_polls()),
            Step::RouterActs(n) => (0..n).for_each(|_| _ = self.router_acts()),
            Step::KillRouter => self.kill_router(),
            Step::StartRouter => self.start_router(),
            Step::Quiet => self.quiet(),
            Step::Wait(ms) => self.now += u64::from(ms),
            _ => {}
        }
        self.check();
    }

    /// Router and `sandboxd` go on until neither has anything to do.
    pub(super) fn quiet(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "never quiet");
            let busy = [self.router_hears(), self.router_polls(), self.router_acts(), self.sandboxd_reads()];
            self.check();
            if !busy.contains(&true) {
                break;
            }
        }
    }

    /// Everybody is up and reads, and much time goes by.
    fn recover(&mut self) {
        self.start_sandboxd();
        self.start_router();
        for _ in 0..60 {
            self.servers_read();
            self.quiet();
            let deadline = self.router.as_ref().and_then(|router| router.core.deadline(self.now));
            self.now = deadline.map_or(self.now + 1000, |deadline| deadline.max(self.now + 1));
        }
    }

    /// What holds whenever the router has done what it decided.
    fn check(&self) {
        let Some(router) = self.router.as_ref().filter(|router| router.core.actions.is_empty()) else {
            return;
        };
        let mut open = BTreeMap::<u32, u32>::new();
        for object in router.fds.values() {
            if let Object::Call(call) = object {
                *open.entry(self.calls[*call].key.uid).or_default() += 1;
            }
        }
        for (uid, account) in &router.core.accounts {
            assert!(open.get(uid).unwrap_or(&0) <= &account.open, "box {uid} is not charged for all it has");
        }
        for (uid, accepts) in &router.accepts {
            // Verdicts come and go, so the rate is that of the grants here or the default one's.
            let most = Limits::default();
            let per_s = u64::from(most.connections_per_s);
            let bound = 4 * per_s + per_s * (self.now - router.started) / 1000;
            assert!(*accepts <= bound, "box {uid} was accepted from {accepts} times");
        }
        self.check_grants(router);
    }

    /// No connection outlives its grant.
    fn check_grants(&self, router: &Router) {
        let Some(view) = &router.view else { return };
        for call in router
            .fds
            .values()
            .filter_map(|o| if let Object::Call(n) = o { Some(&self.calls[*n]) } else { None })
        {
            let (Some(granted), false) = (&call.granted, call.over) else { continue };
            let lawful = match view.listens.get(&call.key) {
                Some((_, Verdict::Granted(now))) => {
                    now.server == granted.server && granted.methods.iter().all(|m| now.methods.contains(m))
                }
                Some((_, Verdict::Undecided)) => true,
                Some((_, Verdict::Refused(_))) | None => false,
            };
            // While a state is read, what the last one named is still in force.
            let reading = router.core.phase != Phase::Settled;
            assert!(lawful || reading, "{call:?} under {:?}", view.listens.get(&call.key));
            let served = Key { uid: granted.server, interface: call.key.interface.clone() };
            assert!(view.serves.contains_key(&served) || reading, "{call:?} without its server");
        }
    }

    /// What holds once everybody had time: nobody is stuck, and what is open is with a server that lives.
    fn check_recovered(&self) {
        let router = self.router.as_ref().unwrap();
        let waiting: Vec<_> = self.backlogs.values().flatten().collect();
        for (number, call) in self.calls.iter().enumerate().filter(|(_, call)| !call.over) {
            if waiting.contains(&&Object::Call(number)) {
                let verdict = &self.truth.listens[&call.key].1;
                assert_eq!(verdict, &Verdict::Undecided, "{call:?} waits");
                continue;
            }
            let alive = call.has.iter().any(|process| self.processes[*process].alive);
            assert!(alive, "nobody answers {number} {call:?}");
            let held = router.fds.values().filter(|object| **object == Object::Call(number)).count();
            assert_eq!(held, 1, "the router can not revoke {call:?}");
            let stored = self.sandboxd.as_ref().unwrap().store.values();
            let stored: Vec<_> = stored.filter(|(_, call)| *call == number).collect();
            assert!(stored.len() == 1 && stored[0].0.handed, "{call:?} is stored as {stored:?}");
        }
        let open = self.calls.iter().filter(|call| !call.over).count();
        let kept = self.sandboxd.as_ref().unwrap().store.len();
        assert_eq!(
            kept,
            open - waiting.iter().filter(|o| matches!(o, Object::Call(n) if !self.calls[*n].over)).count()
        );
    }

    /// What holds once everything was taken away: nothing is left.
    fn check_empty(&mut self) {
        for interface in 0..INTERFACES.len() {
            CALLERS.iter().for_each(|uid| self.drop_box(&key(*uid, interface)));
            SERVERS.iter().for_each(|uid| self.drop_serve(&key(*uid, interface)));
        }
        self.recover();
        let Router { core, fds, .. } = self.router.as_ref().unwrap();
        assert!(fds.is_empty(), "{fds:?}");
        assert!(core.accounts.is_empty() && core.live.is_empty() && core.roles.is_empty(), "{core:?}");
        assert!(core.unplaced.is_empty() && core.notes.is_empty() && !core.records.owes(), "{core:?}");
        assert!(self.sandboxd.as_ref().unwrap().store.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn history_any_keeps_what_holds(steps in proptest::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            world.play(step);
        }
        world.recover();
        world.check_recovered();
        world.check_empty();
    }
}
