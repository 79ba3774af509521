//! RFC 2131's figure 5. No clock, no sockets: time and randomness are arguments, what is to be done is returned.
//!
//! What holds: an address that is in use is one that a server granted, that nobody on the link was found to have, and whose
//! lease is not over; every question has a number that no earlier one had; questions grow rarer as long as nobody answers.

use std::net::Ipv4Addr;

use super::wire::{Ask, Lease, Reply};

/// Off-spec: RFC 2131 begins with four seconds; a link whose switch is still learning loses the first question, and two
/// seconds sooner is two seconds sooner online. It doubles up to the standard's 64.
const FIRST_MS: u64 = 2000;
const LAST_MS: u64 = 64_000;
/// Questions for one address before another is asked for.
const REQUESTS: u32 = 3;
/// Least time between renewals (RFC 2131, 4.4.5).
const RENEW_EVERY_MS: u64 = 60_000;
/// After an address turned out to be somebody's (RFC 2131, 3.1.5).
const DECLINED_MS: u64 = 10_000;
/// The same after so many of them (RFC 5227, `MAX_CONFLICTS` and `RATE_LIMIT_INTERVAL`).
const DECLINED_OFTEN_MS: u64 = 60_000;
const DECLINED_OFTEN: u32 = 10;
/// Probes, and the time for an answer to each.
/// Off-spec: RFC 5227 takes four to seven seconds, for bridges that do not forward yet and for halls of hosts that begin at
/// once. Here frames have just gone to a server and back, at a time that was random already, and the server does not offer
/// an address twice. What is left to find is a host with a fixed address, which answers within milliseconds, or within 300
/// where a radio wakes for broadcasts. One that is found later is found by [`Machine::disputed`].
const PROBES: u32 = 3;
const PROBE_MS: u64 = 150;
/// From the first announcement of an address to the second and last (RFC 5227, `ANNOUNCE_INTERVAL`).
const ANNOUNCE_MS: u64 = 2000;
/// An address is given up when it is disputed twice within this time (RFC 5227, `DEFEND_INTERVAL`).
const DEFEND_MS: u64 = 10_000;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it: to this server, or to everybody.
    Send(Ask, Option<Ipv4Addr>),
    /// Ask the link whether somebody has it.
    Probe(Ipv4Addr),
    /// The address is ours from now, or again.
    Use(Lease),
    /// Tell the link that it is ours.
    Announce(Ipv4Addr),
    /// The address is not ours any more.
    Drop(Ipv4Addr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No carrier.
    Off,
    /// Nobody was asked yet, or an address was declined: until the deadline.
    Waiting,
    Selecting,
    Requesting,
    Rebooting,
    /// Granted: the link is asked whether somebody has it.
    Probing,
    Bound,
    Renewing,
    Rebinding,
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    state: State,
    xid: u32,
    tries: u32,
    began_ms: u64,
    deadline_ms: Option<u64>,
    /// What was offered last, or granted and is not ours yet.
    offer: Option<Lease>,
    /// What is ours, and since when.
    lease: Option<(Lease, u64)>,
    /// What the link still has from before we were started and no server has confirmed to us, and when that ends.
    found: Option<(Ipv4Addr, u64)>,
    /// When the question was sent that the answer will be to: a lease counts from there.
    asked_ms: u64,
    /// When it is announced again.
    announce_ms: Option<u64>,
    /// When it was disputed last.
    disputed_ms: Option<u64>,
    /// Addresses that were declined in a row.
    declined: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            state: State::Off,
            xid: 0,
            tries: 0,
            began_ms: 0,
            deadline_ms: None,
            offer: None,
            lease: None,
            found: None,
            asked_ms: 0,
            announce_ms: None,
            disputed_ms: None,
            declined: 0,
        }
    }
}

impl Machine {
    /// One whose link has this address already, granted by a server before we were started and for so long from now.
    pub fn found(address: Ipv4Addr, left_s: u32) -> Self {
        Self { found: Some((address, u64::from(left_s) * 1000)), ..Self::default() }
    }

    /// The number of the question whose answer is waited for.
    pub fn xid(&self) -> u32 {
        self.xid
    }

    /// Seconds since it began to ask.
    pub fn secs(&self, now_ms: u64) -> u16 {
        u16::try_from(now_ms.saturating_sub(self.began_ms) / 1000).unwrap_or(u16::MAX)
    }

    /// What is ours.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref().map(|(lease, _)| lease)
    }

    /// Seconds that are left of it.
    pub fn left_s(&self, now_ms: u64) -> Option<u32> {
        let until = self.end_ms()?;
        Some(u32::try_from(until.saturating_sub(now_ms).div_ceil(1000)).unwrap_or(u32::MAX))
    }

    fn end_ms(&self) -> Option<u64> {
        let leased = self.lease.as_ref().map(|(lease, since)| since + u64::from(lease.lease_s) * 1000);
        leased.or(self.found.map(|(_, end)| end))
    }

    /// The address whose holders on the link are listened for, and whether it is in use.
    pub fn watched(&self) -> Option<(Ipv4Addr, bool)> {
        match (self.state, &self.offer) {
            (State::Probing, Some(offer)) => Some((offer.address, false)),
            _ => self.lease().map(|lease| (lease.address, true)),
        }
    }

    /// When [`Machine::due`] has something to do.
    pub fn deadline_ms(&self) -> Option<u64> {
        [self.deadline_ms, self.end_ms(), self.announce_ms].into_iter().flatten().min()
    }

    /// The carrier came or went. What is ours stays until its end: the cable may come back, and what is under way with it.
    pub fn carrier(&mut self, up: bool, now_ms: u64, random: u32) -> Vec<Action> {
        if !up {
            self.state = State::Off;
            self.deadline_ms = None;
            self.announce_ms = None;
            return Vec::new();
        }
        self.began_ms = now_ms;
        match self.had() {
            Some(address) => self.begin(State::Rebooting, Ask::Reboot(address), None, now_ms, random),
            None => self.begin(State::Selecting, Ask::Discover, None, now_ms, random),
        }
    }

    /// The address that the link has.
    fn had(&self) -> Option<Ipv4Addr> {
        self.lease().map(|lease| lease.address).or(self.found.map(|(address, _)| address))
    }

    /// A server answered.
    pub fn received(&mut self, reply: Reply, now_ms: u64, random: u32) -> Vec<Action> {
        match (self.state, reply) {
            (State::Selecting, Reply::Offer(offer)) => {
                let ask = Ask::Request { address: offer.address, server: offer.server };
                self.offer = Some(offer);
                self.begin(State::Requesting, ask, None, now_ms, random)
            }
            (
                State::Requesting | State::Rebooting | State::Renewing | State::Rebinding,
                Reply::Ack(lease),
            ) => self.granted(lease, now_ms),
            (State::Requesting | State::Rebooting | State::Renewing | State::Rebinding, Reply::Nak) => {
                let mut actions = self.give_up();
                self.began_ms = now_ms;
                actions.extend(self.begin(State::Selecting, Ask::Discover, None, now_ms, random));
                actions
            }
            _ => Vec::new(),
        }
    }

    /// Somebody else on the link has [`Machine::watched`].
    pub fn disputed(&mut self, now_ms: u64, random: u32) -> Vec<Action> {
        let lease = match self.state {
            State::Off => return Vec::new(),
            State::Probing => self.offer.take(),
            _ => self.lease.as_ref().map(|(lease, _)| lease.clone()),
        };
        let Some(lease) = lease else { return Vec::new() };
        let before = self.disputed_ms.replace(now_ms);
        if self.state != State::Probing && before.is_none_or(|before| now_ms - before >= DEFEND_MS) {
            // RFC 5227, 2.4 (b): it is held once, as whoever took it may have done so by mistake.
            return vec![Action::Announce(lease.address)];
        }
        let mut actions = self.give_up();
        let decline = Ask::Decline { address: lease.address, server: lease.server };
        actions.extend(self.begin(State::Waiting, decline, None, now_ms, random));
        self.declined += 1;
        let wait = if self.declined < DECLINED_OFTEN { DECLINED_MS } else { DECLINED_OFTEN_MS };
        self.deadline_ms = Some(now_ms + wait);
        actions
    }

    /// It is time.
    pub fn due(&mut self, now_ms: u64, random: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.end_ms().is_some_and(|end| end <= now_ms) {
            actions = self.give_up();
            if self.state != State::Off {
                self.state = State::Waiting;
                self.deadline_ms = Some(now_ms);
            }
        }
        if self.announce_ms.take_if(|at| *at <= now_ms).is_some() {
            actions.extend(self.lease().map(|lease| Action::Announce(lease.address)));
        }
        if self.deadline_ms.is_none_or(|at| at > now_ms) {
            return actions;
        }
        self.tries += 1;
        match self.state {
            State::Off => self.deadline_ms = None,
            State::Waiting => {
                self.began_ms = now_ms;
                actions.extend(self.begin(State::Selecting, Ask::Discover, None, now_ms, random));
            }
            State::Selecting => actions.push(self.ask(Ask::Discover, None, now_ms, random)),
            State::Requesting | State::Rebooting if self.tries >= REQUESTS => {
                // What is ours stays in use meanwhile, as long as it is.
                actions.extend(self.begin(State::Selecting, Ask::Discover, None, now_ms, random));
            }
            State::Requesting => {
                let ask = self
                    .offer
                    .as_ref()
                    .map(|offer| Ask::Request { address: offer.address, server: offer.server });
                actions.push(self.ask(ask.unwrap_or(Ask::Discover), None, now_ms, random));
            }
            State::Rebooting => {
                let ask = self.had().map_or(Ask::Discover, Ask::Reboot);
                actions.push(self.ask(ask, None, now_ms, random));
            }
            State::Probing => actions.extend(self.probe(now_ms)),
            State::Bound | State::Renewing | State::Rebinding => actions.extend(self.renew(now_ms, random)),
        }
        actions
    }

    /// Asks to keep it: the server that granted it, and from a time on any.
    fn renew(&mut self, now_ms: u64, random: u32) -> Vec<Action> {
        let Some((lease, since)) = self.lease.clone() else { return Vec::new() };
        let rebind_at = since + u64::from(lease.rebind_s) * 1000;
        let end = since + u64::from(lease.lease_s) * 1000;
        let (state, server, until) = if now_ms < rebind_at {
            (State::Renewing, Some(lease.server), rebind_at)
        } else {
            (State::Rebinding, None, end)
        };
        let actions = self.begin(state, Ask::Renew(lease.address), server, now_ms, random);
        // Half of what is left, a minute at least, and not beyond what comes then.
        let half = (until.saturating_sub(now_ms) / 2).max(RENEW_EVERY_MS);
        self.deadline_ms = Some((now_ms + half).min(until.max(now_ms + 1000)));
        actions
    }

    fn begin(
        &mut self,
        state: State,
        ask: Ask,
        to: Option<Ipv4Addr>,
        now_ms: u64,
        random: u32,
    ) -> Vec<Action> {
        self.state = state;
        self.tries = 0;
        // Another number than before, even from a poor source.
        self.xid = if random == self.xid { random.wrapping_add(1) } else { random };
        vec![self.ask(ask, to, now_ms, random)]
    }

    fn ask(&mut self, ask: Ask, to: Option<Ipv4Addr>, now_ms: u64, random: u32) -> Action {
        let wait = (FIRST_MS << self.tries.min(5)).min(LAST_MS);
        // One second around it (RFC 2131, 4.1), so that a hall of devices does not ask in step.
        self.deadline_ms = Some(now_ms + wait + u64::from(random % 1000) - 500);
        self.asked_ms = now_ms;
        Action::Send(ask, to)
    }

    /// A server granted it. What the link has already is used on; of any other address it is asked first.
    fn granted(&mut self, lease: Lease, now_ms: u64) -> Vec<Action> {
        if self.had() == Some(lease.address) {
            return self.bind(lease, now_ms);
        }
        let mut actions = self.give_up();
        self.state = State::Probing;
        self.tries = 0;
        self.offer = Some(lease);
        actions.extend(self.probe(now_ms));
        actions
    }

    fn probe(&mut self, now_ms: u64) -> Vec<Action> {
        match self.offer.take_if(|_| self.tries >= PROBES) {
            Some(lease) => self.bind(lease, now_ms),
            None => {
                self.deadline_ms = Some(now_ms + PROBE_MS);
                self.offer.iter().map(|offer| Action::Probe(offer.address)).collect()
            }
        }
    }

    fn bind(&mut self, lease: Lease, now_ms: u64) -> Vec<Action> {
        let renewed = matches!(self.state, State::Renewing | State::Rebinding);
        self.state = State::Bound;
        self.deadline_ms = Some(self.asked_ms + u64::from(lease.renew_s).max(1) * 1000);
        self.found = None;
        self.declined = 0;
        self.lease = Some((lease.clone(), self.asked_ms));
        let address = lease.address;
        let mut actions = vec![Action::Use(lease)];
        if !renewed {
            self.disputed_ms = None;
            actions.push(Action::Announce(address));
            self.announce_ms = Some(now_ms + ANNOUNCE_MS);
        }
        actions
    }

    fn give_up(&mut self) -> Vec<Action> {
        self.announce_ms = None;
        let lease = self.lease.take().map(|(lease, _)| lease.address);
        let found = self.found.take().map(|(address, _)| address);
        lease.or(found).map(Action::Drop).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    fn lease(last: u8) -> Lease {
        Lease {
            address: [192, 0, 2, last].into(),
            prefix: 24,
            server: [192, 0, 2, 1].into(),
            routes: Vec::new(),
            name_servers: Vec::new(),
            time_servers: Vec::new(),
            mtu: None,
            lease_s: 120,
            renew_s: 60,
            rebind_s: 105,
        }
    }

    fn bound() -> Machine {
        let mut machine = Machine::default();
        assert_eq!(machine.carrier(true, 0, 1), [Action::Send(Ask::Discover, None)]);
        let request = Ask::Request { address: ADDRESS, server: [192, 0, 2, 1].into() };
        assert_eq!(machine.received(Reply::Offer(lease(7)), 10, 2), [Action::Send(request, None)]);
        assert_eq!(machine.received(Reply::Ack(lease(7)), 20, 3), [Action::Probe(ADDRESS)]);
        assert_eq!(machine.due(170, 3), [Action::Probe(ADDRESS)]);
        assert_eq!(machine.due(320, 3), [Action::Probe(ADDRESS)]);
        assert_eq!(machine.due(470, 3), [Action::Use(lease(7)), Action::Announce(ADDRESS)]);
        assert_eq!(machine.due(2470, 3), [Action::Announce(ADDRESS)]);
        machine
    }

    fn decline() -> Action {
        Action::Send(Ask::Decline { address: ADDRESS, server: [192, 0, 2, 1].into() }, None)
    }

    #[test]
    fn lease_is_renewed_then_rebound_then_over() {
        let mut machine = bound();
        let renew = Ask::Renew(ADDRESS);
        assert_eq!(machine.deadline_ms(), Some(60_010));
        assert_eq!(machine.due(60_010, 4), [Action::Send(renew.clone(), Some([192, 0, 2, 1].into()))]);
        let at = machine.deadline_ms().unwrap();
        assert!(at <= 105_010, "{at}");
        assert_eq!(machine.due(105_010, 5), [Action::Send(renew, None)]);
        let over = machine.due(120_010, 6);
        assert_eq!(over, [Action::Drop(ADDRESS), Action::Send(Ask::Discover, None)]);
    }

    #[test]
    fn renewed_lease_counts_from_the_question() {
        let mut machine = bound();
        machine.due(60_010, 4);
        assert_eq!(machine.received(Reply::Ack(lease(7)), 60_020, 5), [Action::Use(lease(7))]);
        assert_eq!(machine.left_s(60_010), Some(120));
    }

    #[test]
    fn refused_lease_is_dropped_and_another_asked_for() {
        let mut machine = bound();
        machine.due(60_010, 4);
        let actions = machine.received(Reply::Nak, 60_020, 5);
        assert_eq!(actions, [Action::Drop(ADDRESS), Action::Send(Ask::Discover, None)]);
    }

    #[test]
    fn carrier_that_returns_asks_for_the_same_address_and_keeps_it_meanwhile() {
        let mut machine = bound();
        assert_eq!(machine.carrier(false, 1000, 4), []);
        assert_eq!(machine.lease(), Some(&lease(7)));
        assert_eq!(machine.carrier(true, 2000, 5), [Action::Send(Ask::Reboot(ADDRESS), None)]);
        let same = machine.received(Reply::Ack(lease(7)), 3000, 6);
        assert_eq!(same, [Action::Use(lease(7)), Action::Announce(ADDRESS)], "it was in use all the time");
        machine.carrier(true, 4000, 7);
        let other = machine.received(Reply::Ack(lease(8)), 4100, 8);
        assert_eq!(other, [Action::Drop(ADDRESS), Action::Probe([192, 0, 2, 8].into())]);
    }

    #[test]
    fn address_found_on_the_link_is_asked_for_and_used_on() {
        let mut machine = Machine::found(ADDRESS, 100);
        assert_eq!(machine.carrier(true, 0, 1), [Action::Send(Ask::Reboot(ADDRESS), None)]);
        let actions = machine.received(Reply::Ack(lease(7)), 10, 2);
        assert_eq!(actions, [Action::Use(lease(7)), Action::Announce(ADDRESS)]);
    }

    #[test]
    fn address_found_on_the_link_that_is_refused_or_over_is_dropped() {
        let mut machine = Machine::found(ADDRESS, 100);
        machine.carrier(true, 0, 1);
        let drop = [Action::Drop(ADDRESS), Action::Send(Ask::Discover, None)];
        assert_eq!(machine.received(Reply::Nak, 10, 2), drop);
        let mut machine = Machine::found(ADDRESS, 5);
        machine.carrier(true, 0, 1);
        assert_eq!(machine.due(5000, 2), drop);
    }

    #[test]
    fn address_that_somebody_has_is_declined_and_never_used() {
        let mut machine = Machine::default();
        machine.carrier(true, 0, 1);
        machine.received(Reply::Offer(lease(7)), 10, 2);
        machine.received(Reply::Ack(lease(7)), 20, 3);
        assert_eq!(machine.watched(), Some((ADDRESS, false)));
        assert_eq!(machine.disputed(30, 4), [decline()]);
        assert_eq!(machine.disputed(31, 5), [], "once");
        assert_eq!(machine.due(9000, 6), []);
        assert_eq!(machine.due(10_030, 7), [Action::Send(Ask::Discover, None)]);
    }

    #[test]
    fn address_in_use_is_held_once_and_given_up_when_disputed_again() {
        let mut machine = bound();
        assert_eq!(machine.watched(), Some((ADDRESS, true)));
        assert_eq!(machine.disputed(20_000, 4), [Action::Announce(ADDRESS)]);
        assert_eq!(machine.disputed(30_000, 5), [Action::Announce(ADDRESS)], "long after");
        assert_eq!(machine.disputed(39_000, 6), [Action::Drop(ADDRESS), decline()]);
        assert_eq!(machine.watched(), None);
    }

    #[test]
    fn addresses_that_are_all_taken_are_asked_for_more_rarely() {
        let (mut machine, mut now) = (Machine::default(), 0);
        machine.carrier(true, now, 1);
        let mut waits = Vec::new();
        for random in 1..12 {
            machine.received(Reply::Offer(lease(7)), now, random * 3);
            machine.received(Reply::Ack(lease(7)), now, random * 3 + 1);
            assert_eq!(machine.disputed(now, random * 3 + 2), [decline()]);
            let next = machine.deadline_ms().unwrap();
            waits.push(next - now);
            now = next;
            machine.due(now, random);
        }
        assert_eq!((waits[0], waits[8], waits[9]), (10_000, 10_000, 60_000));
    }

    #[test]
    fn questions_grow_rarer() {
        let mut machine = Machine::default();
        machine.carrier(true, 0, 500);
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..8 {
            let at = machine.deadline_ms().unwrap();
            waits.push(at - now);
            now = at;
            assert_eq!(machine.due(now, 500), [Action::Send(Ask::Discover, None)]);
        }
        assert_eq!(waits, [2000, 4000, 8000, 16_000, 32_000, 64_000, 64_000, 64_000]);
    }

    /// Often short enough that an address is probed to the end.
    fn history_pause() -> impl Strategy<Value = u64> {
        prop_oneof![0_u64..200, 0_u64..90_000]
    }

    proptest! {
        #[test]
        fn history_uses_only_what_was_granted_and_probed_and_is_not_over(
            steps in proptest::collection::vec((0_u8..6, history_pause(), any::<u32>(), 2_u8..5), 0..200),
            found: bool,
        ) {
            let (mut now, mut probed) = (0, 0);
            let mut used = found.then_some(ADDRESS);
            let mut machine = used.map_or_else(Machine::default, |address| Machine::found(address, 300));
            for (what, later, random, last) in steps {
                now += later;
                let actions = match what {
                    0 => machine.carrier(true, now, random),
                    1 => machine.carrier(false, now, random),
                    2 => machine.received(Reply::Offer(lease(last)), now, random),
                    3 => machine.received(Reply::Ack(lease(last)), now, random),
                    4 => machine.received(Reply::Nak, now, random),
                    _ => machine.disputed(now, random),
                };
                let mut all = actions;
                let mut turns = 0;
                while machine.deadline_ms().is_some_and(|at| at <= now) && turns < 50 {
                    all.extend(machine.due(now, random));
                    turns += 1;
                }
                prop_assert!(turns < 50, "it does not come to rest");
                for action in all {
                    match action {
                        Action::Use(lease) => {
                            prop_assert!(used.is_none_or(|old| old == lease.address), "two at once");
                            prop_assert!(used.is_some() || probed == PROBES, "nobody was asked");
                            used = Some(lease.address);
                        }
                        Action::Probe(_) => probed += 1,
                        Action::Announce(address) => prop_assert_eq!(used, Some(address)),
                        Action::Drop(address) => prop_assert_eq!(used.take(), Some(address)),
                        Action::Send(..) => probed = 0,
                    }
                }
                prop_assert_eq!(machine.had(), used);
                prop_assert!(machine.end_ms().is_none_or(|end| end > now));
            }
        }
    }
}
