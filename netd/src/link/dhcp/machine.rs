//! RFC 2131's figure 5. No clock, no sockets: time and randomness are arguments, what is to be done is returned.
//!
//! What holds: an address that is in use is one that a server granted and whose lease is not over; every question has a
//! number that no earlier one had; questions grow rarer as long as nobody answers.

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

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it: to this server, or to everybody.
    Send(Ask, Option<Ipv4Addr>),
    /// The address is ours from now, or again.
    Use(Lease),
    /// The address is not ours any more.
    Drop(Lease),
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
    /// What was offered last.
    offer: Option<Lease>,
    /// What is ours, and since when.
    lease: Option<(Lease, u64)>,
    /// When the question was sent that the answer will be to: a lease counts from there.
    asked_ms: u64,
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
            asked_ms: 0,
        }
    }
}

impl Machine {
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
        self.lease.as_ref().map(|(lease, since)| since + u64::from(lease.lease_s) * 1000)
    }

    /// When [`Machine::due`] has something to do.
    pub fn deadline_ms(&self) -> Option<u64> {
        [self.deadline_ms, self.end_ms()].into_iter().flatten().min()
    }

    /// The carrier came or went. What is ours stays until its end: the cable may come back, and what is under way with it.
    pub fn carrier(&mut self, up: bool, now_ms: u64, random: u32) -> Vec<Action> {
        if !up {
            self.state = State::Off;
            self.deadline_ms = None;
            return Vec::new();
        }
        self.began_ms = now_ms;
        match self.lease.clone() {
            Some((lease, _)) => {
                self.begin(State::Rebooting, Ask::Reboot(lease.address), None, now_ms, random)
            }
            None => self.begin(State::Selecting, Ask::Discover, None, now_ms, random),
        }
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
            ) => self.bind(lease),
            (State::Requesting | State::Rebooting | State::Renewing | State::Rebinding, Reply::Nak) => {
                let mut actions = self.give_up();
                self.began_ms = now_ms;
                actions.extend(self.begin(State::Selecting, Ask::Discover, None, now_ms, random));
                actions
            }
            _ => Vec::new(),
        }
    }

    /// Somebody else has the address.
    pub fn conflict(&mut self, now_ms: u64) -> Vec<Action> {
        let Some((lease, _)) = self.lease.clone() else { return Vec::new() };
        let decline = Ask::Decline { address: lease.address, server: lease.server };
        let mut actions = vec![Action::Send(decline, None)];
        actions.extend(self.give_up());
        self.state = State::Waiting;
        self.deadline_ms = Some(now_ms + DECLINED_MS);
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
                let ask = self.lease().map_or(Ask::Discover, |lease| Ask::Reboot(lease.address));
                actions.push(self.ask(ask, None, now_ms, random));
            }
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

    fn bind(&mut self, lease: Lease) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some((old, _)) =
            self.lease.take().filter(|(old, _)| old.address != lease.address || old.prefix != lease.prefix)
        {
            actions.push(Action::Drop(old));
        }
        self.state = State::Bound;
        self.deadline_ms = Some(self.asked_ms + u64::from(lease.renew_s).max(1) * 1000);
        self.lease = Some((lease.clone(), self.asked_ms));
        actions.push(Action::Use(lease));
        actions
    }

    fn give_up(&mut self) -> Vec<Action> {
        self.lease.take().map(|(lease, _)| Action::Drop(lease)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let request = Ask::Request { address: [192, 0, 2, 7].into(), server: [192, 0, 2, 1].into() };
        assert_eq!(machine.received(Reply::Offer(lease(7)), 10, 2), [Action::Send(request, None)]);
        assert_eq!(machine.received(Reply::Ack(lease(7)), 20, 3), [Action::Use(lease(7))]);
        machine
    }

    #[test]
    fn lease_is_renewed_then_rebound_then_over() {
        let mut machine = bound();
        let renew = Ask::Renew([192, 0, 2, 7].into());
        assert_eq!(machine.deadline_ms(), Some(60_010));
        assert_eq!(machine.due(60_010, 4), [Action::Send(renew.clone(), Some([192, 0, 2, 1].into()))]);
        let at = machine.deadline_ms().unwrap();
        assert!(at <= 105_010, "{at}");
        assert_eq!(machine.due(105_010, 5), [Action::Send(renew, None)]);
        let over = machine.due(120_010, 6);
        assert_eq!(over, [Action::Drop(lease(7)), Action::Send(Ask::Discover, None)]);
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
        assert_eq!(actions, [Action::Drop(lease(7)), Action::Send(Ask::Discover, None)]);
    }

    #[test]
    fn carrier_that_returns_asks_for_the_same_address_and_keeps_it_meanwhile() {
        let mut machine = bound();
        assert_eq!(machine.carrier(false, 1000, 4), []);
        assert_eq!(machine.lease(), Some(&lease(7)));
        assert_eq!(machine.carrier(true, 2000, 5), [Action::Send(Ask::Reboot([192, 0, 2, 7].into()), None)]);
        let other = machine.received(Reply::Ack(lease(8)), 2100, 6);
        assert_eq!(other, [Action::Drop(lease(7)), Action::Use(lease(8))]);
    }

    #[test]
    fn address_of_somebody_else_is_declined_and_asked_again_later() {
        let mut machine = bound();
        let decline = Ask::Decline { address: [192, 0, 2, 7].into(), server: [192, 0, 2, 1].into() };
        assert_eq!(machine.conflict(30), [Action::Send(decline, None), Action::Drop(lease(7))]);
        assert_eq!(machine.due(9000, 4), []);
        assert_eq!(machine.due(10_030, 4), [Action::Send(Ask::Discover, None)]);
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

    proptest! {
        #[test]
        fn history_uses_only_what_was_granted_and_is_not_over(
            steps in proptest::collection::vec((0_u8..6, 0_u64..90_000, any::<u32>(), 2_u8..5), 0..200)
        ) {
            let (mut machine, mut now, mut used) = (Machine::default(), 0, None::<Lease>);
            for (what, later, random, last) in steps {
                now += later;
                let actions = match what {
                    0 => machine.carrier(true, now, random),
                    1 => machine.carrier(false, now, random),
                    2 => machine.received(Reply::Offer(lease(last)), now, random),
                    3 => machine.received(Reply::Ack(lease(last)), now, random),
                    4 => machine.received(Reply::Nak, now, random),
                    _ => machine.conflict(now),
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
                            prop_assert!(used.as_ref().is_none_or(|old| old.address == lease.address), "two at once");
                            used = Some(lease);
                        }
                        Action::Drop(lease) => prop_assert_eq!(used.take(), Some(lease)),
                        Action::Send(..) => {}
                    }
                }
                prop_assert_eq!(machine.lease(), used.as_ref());
                prop_assert!(machine.end_ms().is_none_or(|end| end > now));
            }
        }
    }
}
