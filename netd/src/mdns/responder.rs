//! One link's conversation: probing for the names, announcing them, answering, defending, saying goodbye. No clock and no
//! sockets: what comes in and the time are given, what goes out is returned.
//!
//! In order: three probes 250 ms apart, two announcements a second apart, then answers. Somebody else's record for one of
//! the names while probing means another name; once announced it means to probe again, and then perhaps another name.
//!
//! Bounded whatever comes in: one plan of what to send next, one time of the last answer for each record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord};

use super::PORT;
use super::records::{For, Identity, Kind, Records};

/// The longest message there may be (RFC 6762, section 17).
pub const MOST_BYTES: usize = 9000;

/// Between probes, milliseconds (section 8.1).
const PROBE_MS: u64 = 250;
/// How many probes there are.
const PROBES: u8 = 3;
/// Between announcements, milliseconds (section 8.3).
const ANNOUNCE_MS: u64 = 1000;
/// How many announcements there are.
const ANNOUNCEMENTS: u8 = 2;
/// Between two multicasts of one record, milliseconds (section 6).
const RECORD_MS: u64 = 1000;
/// Until we probe again after somebody else was first (section 8.2).
const LOST_MS: u64 = 1000;
/// Names that are tried without a pause; then one each [`PAUSE_MS`] (section 8.1).
const HASTY_NAMES: u32 = 15;
/// The pause, milliseconds.
const PAUSE_MS: u64 = 5000;
/// Answers to single askers in a second.
const UNICASTS_A_SECOND: u32 = 10;
/// How long more known answers are waited for, milliseconds (section 7.2).
const MORE_MS: u64 = 400;
/// An answer is multicast rather than sent to the asker if it was not for a quarter of the least time it is kept.
const FRESH_MS: u64 = 30_000;

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub bytes: Vec<u8>,
    /// To whom.
    pub to: To,
}

/// Who gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Everybody on the link, by IPv4 and IPv6.
    Group,
    /// One asker.
    One(SocketAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Probing(u8),
    Announcing(u8),
    Known,
}

/// The device on one link.
#[derive(Debug)]
pub struct Responder {
    records: Records,
    stage: Stage,
    next_ms: Option<u64>,
    names_tried: u32,
    multicast_ms: BTreeMap<Kind, u64>,
    planned: Option<Planned>,
    unicasts: (u64, u32),
    spread: u64,
}

/// An answer that waits a little, so that others' answers and more of what the asker knows can come.
#[derive(Debug)]
struct Planned {
    at_ms: u64,
    kinds: BTreeSet<Kind>,
    asker: IpAddr,
}

impl Responder {
    /// Begins to probe. `random` spreads devices that begin together.
    pub fn new(
        identity: &Identity,
        addresses: impl IntoIterator<Item = IpAddr>,
        now_ms: u64,
        random: u16,
    ) -> Self {
        let spread = u64::from(random);
        Self {
            records: Records::new(identity, addresses),
            stage: Stage::Probing(0),
            next_ms: Some(now_ms + spread % PROBE_MS),
            names_tried: 1,
            multicast_ms: BTreeMap::new(),
            planned: None,
            unicasts: (0, 0),
            spread,
        }
    }

    /// The name it has, or wants, without `.local`.
    pub fn label(&self) -> String {
        self.records.label()
    }

    /// Whether the name is known to be this device's.
    pub fn is_announced(&self) -> bool {
        !matches!(self.stage, Stage::Probing(_))
    }

    /// Whether these are the link's addresses still.
    pub fn has(&self, addresses: &[IpAddr]) -> bool {
        self.records.has(addresses)
    }

    /// When [`poll`](Self::poll) is next due.
    pub fn next_ms(&self) -> Option<u64> {
        [self.next_ms, self.planned.as_ref().map(|planned| planned.at_ms)].into_iter().flatten().min()
    }

    /// What is due now; to be called until there is nothing.
    pub fn poll(&mut self, now_ms: u64) -> Option<Sent> {
        if self.planned.as_ref().is_some_and(|planned| planned.at_ms <= now_ms)
            && let Some(planned) = self.planned.take()
            && let Some(sent) = self.multicast(&planned.kinds, now_ms)
        {
            return Some(sent);
        }
        if self.next_ms.is_none_or(|next_ms| next_ms > now_ms) {
            return None;
        }
        match self.stage {
            Stage::Probing(PROBES) => {
                self.stage = Stage::Announcing(1);
                self.next_ms = Some(now_ms + ANNOUNCE_MS);
                self.announcement(now_ms)
            }
            Stage::Probing(done) => {
                self.stage = Stage::Probing(done + 1);
                self.next_ms = Some(now_ms + PROBE_MS);
                self.probe()
            }
            Stage::Announcing(ANNOUNCEMENTS) | Stage::Known => {
                (self.stage, self.next_ms, self.names_tried) = (Stage::Known, None, 1);
                None
            }
            Stage::Announcing(done) => {
                self.stage = Stage::Announcing(done + 1);
                self.next_ms = Some(now_ms + ANNOUNCE_MS);
                self.announcement(now_ms)
            }
        }
    }

    /// Takes a message from somebody on the link: the caller has checked that he is, and that it is not our own.
    pub fn handle(&mut self, bytes: &[u8], from: SocketAddr, now_ms: u64) -> Option<Sent> {
        if !is_plausible(bytes) {
            return None;
        }
        let packet = Packet::parse(bytes).ok()?;
        if packet.opcode() != OPCODE::StandardQuery {
            return None;
        }
        if packet.has_flags(PacketFlag::RESPONSE) {
            // Section 11: answers from another port are nobody's.
            if from.port() == PORT {
                self.hear(&packet, now_ms);
            }
            return None;
        }
        self.contest(&packet, now_ms);
        self.answer(&packet, from, now_ms)
    }

    /// What tells others to forget this device; nothing if it never told them.
    pub fn goodbye(&self) -> Option<Sent> {
        if !self.is_announced() {
            return None;
        }
        // Not that there is such a service: other devices have it too.
        let kinds = [Kind::Service, Kind::Server, Kind::Text, Kind::A, Kind::Aaaa];
        self.write(&kinds.into(), &BTreeSet::new(), For::Goodbye, To::Group, None)
    }

    /// Others' records: is there one for a name of ours that is not ours?
    fn hear(&mut self, packet: &Packet<'_>, now_ms: u64) {
        let names = self.records.names();
        let is_probing = !self.is_announced();
        let is_foreign = |record: &ResourceRecord<'_>| {
            names.contains(&record.name) && record.class == CLASS::IN && !self.is_ours(record, is_probing)
        };
        let mut all = packet.answers.iter().chain(&packet.additional_records);
        if !all.any(is_foreign) {
            return;
        }
        if is_probing {
            self.rename(now_ms);
        } else {
            // Section 9: who is right is for probes to find out.
            (self.stage, self.next_ms) = (Stage::Probing(0), Some(now_ms));
        }
    }

    /// Whether a record says what ours do. Of a type we do not have it contradicts us only while we probe.
    fn is_ours(&self, record: &ResourceRecord<'_>, is_probing: bool) -> bool {
        let kinds = [Kind::Server, Kind::Text, Kind::A, Kind::Aaaa, Kind::NoOther];
        let ours = kinds.into_iter().flat_map(|kind| self.records.of(kind, For::Group));
        let same_type = ours.filter(|one| one.rdata.type_code() == record.rdata.type_code());
        let mut has_type = false;
        for one in same_type {
            has_type = true;
            if one.rdata == record.rdata {
                return true;
            }
        }
        // A goodbye to a name leaves it to us.
        record.ttl == 0 || !has_type && !is_probing
    }

    /// Somebody else probes for one of our names at the same time: who has the lesser records waits (section 8.2).
    fn contest(&mut self, packet: &Packet<'_>, now_ms: u64) {
        if self.is_announced() {
            return;
        }
        let has_lost = self.records.names().iter().any(|name| {
            let theirs: BTreeSet<_> =
                packet.name_servers.iter().filter(|one| one.name == *name).map(comparable).collect();
            let ours: BTreeSet<_> = self.records.proposed(name).iter().map(comparable).collect();
            !theirs.is_empty() && ours.iter().lt(theirs.iter())
        });
        if has_lost {
            (self.stage, self.next_ms) = (Stage::Probing(0), Some(now_ms + LOST_MS));
        }
    }

    fn rename(&mut self, now_ms: u64) {
        self.records.rename();
        self.names_tried = self.names_tried.saturating_add(1);
        let wait_ms = if self.names_tried > HASTY_NAMES { PAUSE_MS } else { self.spread % PROBE_MS };
        (self.stage, self.next_ms) = (Stage::Probing(0), Some(now_ms + wait_ms));
        self.multicast_ms.clear();
        self.planned = None;
    }

    fn answer(&mut self, packet: &Packet<'_>, from: SocketAddr, now_ms: u64) -> Option<Sent> {
        let known = self.known(packet);
        if let Some(planned) = self.planned.as_mut().filter(|planned| planned.asker == from.ip()) {
            // The rest of what he knows (section 7.2).
            planned.kinds.retain(|kind| !known.contains(kind));
        }
        if !self.is_announced() {
            return None;
        }
        let mut kinds = BTreeSet::new();
        let mut wants_unicast = !packet.questions.is_empty();
        for question in &packet.questions {
            kinds.extend(self.records.answering(question));
            wants_unicast &= question.unicast_response;
        }
        if from.port() != PORT {
            return self.unicast(&kinds, from, Some(packet), now_ms);
        }
        let kinds: BTreeSet<Kind> = &kinds - &known;
        if kinds.is_empty() {
            return None;
        }
        let is_fresh = |kind: &Kind| {
            self.multicast_ms.get(kind).is_some_and(|then_ms| now_ms.saturating_sub(*then_ms) < FRESH_MS)
        };
        // A probe is answered to everybody at once: it is about who has the name.
        let is_probe = !packet.name_servers.is_empty();
        if wants_unicast && !is_probe && kinds.iter().all(is_fresh) {
            return self.unicast(&kinds, from, None, now_ms);
        }
        let wait_ms = if packet.has_flags(PacketFlag::TRUNCATION) {
            MORE_MS + self.spread % 100
        } else if kinds.iter().any(|kind| kind.is_shared()) {
            20 + self.spread % 100
        } else {
            return self.multicast(&kinds, now_ms);
        };
        let planned = self.planned.get_or_insert_with(|| Planned {
            at_ms: now_ms + wait_ms,
            kinds: BTreeSet::new(),
            asker: from.ip(),
        });
        planned.kinds.extend(kinds);
        None
    }

    /// What the asker knows already, and for at least half of its time (section 7.1).
    fn known(&self, packet: &Packet<'_>) -> BTreeSet<Kind> {
        let knows = |ours: &ResourceRecord<'_>| {
            packet.answers.iter().any(|theirs| {
                theirs.name == ours.name && theirs.rdata == ours.rdata && theirs.ttl >= ours.ttl / 2
            })
        };
        let is_known = |kind: &Kind| {
            let ours = self.records.of(*kind, For::Group);
            !ours.is_empty() && ours.iter().all(knows)
        };
        if packet.answers.is_empty() {
            return BTreeSet::new();
        }
        Kind::ANNOUNCED.into_iter().filter(is_known).collect()
    }

    fn probe(&self) -> Option<Sent> {
        let mut packet = Packet::new_query(0);
        for name in self.records.names() {
            packet.name_servers.extend(self.records.proposed(&name));
            packet.questions.push(Question::new(name, QTYPE::ANY, QCLASS::CLASS(CLASS::IN), true));
        }
        Some(Sent { bytes: packet.build_bytes_vec_compressed().ok()?, to: To::Group })
    }

    /// What was sent within the last second is left out: the second announcement has it.
    fn announcement(&mut self, now_ms: u64) -> Option<Sent> {
        self.multicast(&Kind::ANNOUNCED.into(), now_ms)
    }

    fn multicast(&mut self, kinds: &BTreeSet<Kind>, now_ms: u64) -> Option<Sent> {
        let is_due = |kind: &&Kind| {
            self.multicast_ms.get(kind).is_none_or(|then_ms| now_ms.saturating_sub(*then_ms) >= RECORD_MS)
        };
        let answers: BTreeSet<Kind> = kinds.iter().filter(is_due).copied().collect();
        let beside: BTreeSet<Kind> = Records::beside(&answers).iter().filter(is_due).copied().collect();
        let sent = self.write(&answers, &beside, For::Group, To::Group, None)?;
        self.multicast_ms.extend(answers.iter().chain(&beside).map(|kind| (*kind, now_ms)));
        Some(sent)
    }

    fn unicast(
        &mut self,
        kinds: &BTreeSet<Kind>,
        to: SocketAddr,
        legacy: Option<&Packet<'_>>,
        now_ms: u64,
    ) -> Option<Sent> {
        let second = now_ms / 1000;
        if self.unicasts.0 != second {
            self.unicasts = (second, 0);
        }
        if self.unicasts.1 >= UNICASTS_A_SECOND {
            return None;
        }
        let whom = if legacy.is_some() { For::Legacy } else { For::Group };
        let sent = self.write(kinds, &Records::beside(kinds), whom, To::One(to), legacy)?;
        self.unicasts.1 += 1;
        Some(sent)
    }

    fn write(
        &self,
        answers: &BTreeSet<Kind>,
        beside: &BTreeSet<Kind>,
        whom: For,
        to: To,
        legacy: Option<&Packet<'_>>,
    ) -> Option<Sent> {
        let of = |kinds: &BTreeSet<Kind>| {
            kinds.iter().flat_map(|kind| self.records.of(*kind, whom)).collect::<Vec<_>>()
        };
        // Section 18: neither an id nor the questions, but for those who know unicast DNS only.
        let mut packet = Packet::new_reply(legacy.map_or(0, Packet::id));
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        packet.answers = of(answers);
        if packet.answers.is_empty() {
            return None;
        }
        packet.additional_records = of(beside);
        if let Some(asked) = legacy {
            let ours = |question: &&Question<'_>| !self.records.answering(question).is_empty();
            // One is what such askers send, and an answer must not grow with the question.
            let question = asked.questions.iter().find(ours)?;
            packet.questions.push(question.clone().into_owned());
        }
        Some(Sent { bytes: packet.build_bytes_vec_compressed().ok()?, to })
    }
}

/// Whether a message can have as many questions and records as it says: the parser makes room for what is said.
fn is_plausible(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<12>() else { return false };
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let least = count(4) * 5 + (count(6) + count(8) + count(10)) * 11;
    bytes.len() <= MOST_BYTES && least <= bytes.len() - 12
}

/// Class, type and data, as they compare (section 8.2). Of types we never propose the type alone decides.
fn comparable(record: &ResourceRecord<'_>) -> (u16, u16, Vec<u8>) {
    let data = match &record.rdata {
        RData::A(one) => one.address.to_be_bytes().to_vec(),
        RData::AAAA(one) => one.address.to_be_bytes().to_vec(),
        RData::SRV(one) => {
            let numbers = [one.priority, one.weight, one.port].map(u16::to_be_bytes).concat();
            [numbers, flat(&one.target)].concat()
        }
        _ => Vec::new(),
    };
    (record.class as u16, record.rdata.type_code().into(), data)
}

/// A name as its bytes, uncompressed.
fn flat(name: &Name<'_>) -> Vec<u8> {
    let labels = name.as_bytes();
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| u8::try_from(label.len()).into_iter().chain(label.iter().copied())).collect();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::TYPE;

    fn identity() -> Identity {
        Identity { id: "0011aabbccdd".into(), port: 7000 }
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn device(last: u8, random: u16) -> Responder {
        Responder::new(&identity(), [address(last)], 0, random)
    }

    /// Devices on one link: what one sends the others hear, a millisecond later. Returns how many messages there were.
    fn run(devices: &mut [Responder], from_ms: u64, to_ms: u64) -> usize {
        let mut messages = 0;
        let mut under_way: Vec<(usize, Sent)> = Vec::new();
        for now_ms in from_ms..to_ms {
            for (sender, sent) in std::mem::take(&mut under_way) {
                messages += 1;
                let from = SocketAddr::from((address(u8::try_from(sender).unwrap() + 1), PORT));
                for (index, device) in devices.iter_mut().enumerate().filter(|(index, _)| *index != sender) {
                    under_way.extend(device.handle(&sent.bytes, from, now_ms).map(|sent| (index, sent)));
                }
            }
            for (index, device) in devices.iter_mut().enumerate() {
                while let Some(sent) = device.poll(now_ms) {
                    under_way.push((index, sent));
                }
            }
        }
        messages
    }

    fn alone() -> Responder {
        let mut all = [device(1, 100)];
        // Three probes, two announcements.
        assert_eq!(run(&mut all, 0, 5000), 5);
        let [one] = all;
        assert!(one.is_announced() && one.next_ms().is_none());
        one
    }

    fn question(text: &str, kind: TYPE) -> Packet<'static> {
        let name = Name::new(text).unwrap().into_owned();
        let mut packet = Packet::new_query(77);
        packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        packet
    }

    fn asker(port: u16) -> SocketAddr {
        (address(9), port).into()
    }

    fn ask(one: &mut Responder, packet: &Packet<'_>, port: u16, now_ms: u64) -> Option<Sent> {
        let bytes = packet.build_bytes_vec_compressed().unwrap();
        one.handle(&bytes, asker(port), now_ms).or_else(|| one.poll(now_ms + 1000))
    }

    #[test]
    fn question_is_answered_to_the_group_once_a_second() {
        let mut one = alone();
        let packet = question("gabion-ccdd.local", TYPE::A);
        let sent = ask(&mut one, &packet, PORT, 9000).unwrap();
        assert_eq!(sent.to, To::Group);
        let answer = Packet::parse(&sent.bytes).unwrap();
        assert_eq!((answer.id(), answer.questions.len(), answer.answers.len()), (0, 0, 1));
        assert!(answer.answers[0].cache_flush && answer.answers[0].ttl == HOST_TTL_S);
        assert_eq!(ask(&mut one, &packet, PORT, 9500), None);
        assert!(ask(&mut one, &packet, PORT, 10_000).is_some());
    }

    const HOST_TTL_S: u32 = 120;

    #[test]
    fn service_is_answered_with_all_that_is_needed_to_reach_it() {
        let mut one = alone();
        let sent = ask(&mut one, &question("_gabion._tcp.local", TYPE::PTR), PORT, 9000).unwrap();
        let answer = Packet::parse(&sent.bytes).unwrap();
        assert!(answer.answers.len() == 1 && !answer.answers[0].cache_flush);
        assert_eq!(answer.additional_records.len(), 3);
    }

    #[test]
    fn asker_of_unicast_dns_gets_his_id_and_question_and_no_cache_flush() {
        let mut one = alone();
        let sent = ask(&mut one, &question("gabion-ccdd.local", TYPE::A), 40_000, 9000).unwrap();
        assert_eq!(sent.to, To::One(asker(40_000)));
        let answer = Packet::parse(&sent.bytes).unwrap();
        assert_eq!((answer.id(), answer.questions.len()), (77, 1));
        assert!(!answer.answers[0].cache_flush && answer.answers[0].ttl <= 10);
        let many =
            (0..100).filter_map(|_| ask(&mut one, &question("gabion-ccdd.local", TYPE::A), 40_000, 9000));
        assert_eq!(many.count(), 9);
    }

    #[test]
    fn what_the_asker_knows_is_not_answered() {
        let mut one = alone();
        let mut packet = question("_gabion._tcp.local", TYPE::PTR);
        packet.answers = one.records.of(Kind::Service, For::Group);
        assert_eq!(ask(&mut one, &packet, PORT, 9000), None);
        packet.answers[0].ttl /= 3;
        assert!(ask(&mut one, &packet, PORT, 9000).is_some());
    }

    #[test]
    fn rest_of_what_the_asker_knows_takes_it_from_the_answer() {
        let mut one = alone();
        let mut packet = question("_gabion._tcp.local", TYPE::PTR);
        packet.set_flags(PacketFlag::TRUNCATION);
        let mut rest = Packet::new_query(0);
        rest.answers = one.records.of(Kind::Service, For::Group);
        one.handle(&packet.build_bytes_vec().unwrap(), asker(PORT), 9000);
        assert_eq!(one.poll(9300), None);
        one.handle(&rest.build_bytes_vec().unwrap(), asker(PORT), 9300);
        assert_eq!(one.poll(9900), None);
    }

    #[test]
    fn name_that_somebody_has_is_left_to_him() {
        let mut all = [alone(), Responder::new(&identity(), [address(2)], 5000, 7)];
        run(&mut all, 5000, 12_000);
        assert_eq!(all.map(|one| one.label()), ["gabion-ccdd", "gabion-ccdd-2"]);
    }

    #[test]
    fn name_wanted_by_two_at_once_goes_to_one_of_them() {
        // The same random number: they probe in the same millisecond.
        let mut all = [device(1, 100), device(2, 100)];
        run(&mut all, 0, 12_000);
        // The later address wins.
        assert_eq!(all.map(|one| one.label()), ["gabion-ccdd-2", "gabion-ccdd"]);
    }

    #[test]
    fn somebody_who_takes_every_name_makes_the_device_slow() {
        let mut one = device(1, 100);
        let mut sent = 0;
        for now_ms in 0..600_000 {
            while one.poll(now_ms).is_some() {
                sent += 1;
            }
            let mut theirs = Packet::new_reply(0);
            theirs.answers = one.records.of(Kind::A, For::Group);
            theirs.answers[0].rdata = RData::A(std::net::Ipv4Addr::new(192, 0, 2, 99).into());
            one.handle(&theirs.build_bytes_vec().unwrap(), asker(PORT), now_ms);
        }
        assert!(sent < 200, "{sent} messages in ten minutes");
        assert!(!one.is_announced());
    }

    #[test]
    fn goodbye_is_said_only_of_what_was_announced() {
        assert_eq!(device(1, 0).goodbye(), None);
        let sent = alone().goodbye().unwrap();
        let packet = Packet::parse(&sent.bytes).unwrap();
        assert!(packet.answers.len() == 4 && packet.answers.iter().all(|record| record.ttl == 0));
    }

    #[test]
    fn message_that_claims_more_than_it_has_is_not_read() {
        let mut bytes = question("a.local", TYPE::A).build_bytes_vec().unwrap();
        bytes[4..6].copy_from_slice(&[0xff, 0xff]);
        assert!(!is_plausible(&bytes) && !is_plausible(&bytes[..11]));
        assert!(!is_plausible(&vec![0; MOST_BYTES + 1]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// However many devices of one name begin when: each ends with a name of its own, and the link falls silent.
        #[test]
        fn devices_of_any_number_end_with_names_of_their_own(
            spreads in prop::collection::vec(any::<u16>(), 1..5),
        ) {
            let mut all: Vec<Responder> = spreads
                .iter()
                .zip(1..)
                .map(|(random, last)| device(last, *random))
                .collect();
            run(&mut all, 0, 40_000);
            let names: BTreeSet<String> = all.iter().map(Responder::label).collect();
            prop_assert_eq!(names.len(), all.len());
            prop_assert!(all.iter().all(|one| one.is_announced() && one.next_ms().is_none()));
        }
    }
}
