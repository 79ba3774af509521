//! What is announced of the device on one link.
//!
//! Two names are the device's alone: that of the host, and that of the service's instance. Two are shared by all devices:
//! that of the service, and that which lists services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, NSEC, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// The service.
const SERVICE: &str = "_gabion._tcp.local";

/// Lists the services of a link (RFC 6763, section 9).
const SERVICES: &str = "_services._dns-sd._udp.local";

/// Seconds that what names a host is kept by others (RFC 6762, section 10).
const HOST_TTL_S: u32 = 120;

/// Seconds that everything else is.
const OTHER_TTL_S: u32 = 4500;

/// Seconds that an asker keeps it who knows nothing of multicast DNS (section 6.7).
const LEGACY_TTL_S: u32 = 10;

/// Addresses that are announced.
const MOST_ADDRESSES: usize = 8;

/// What the device tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id: at most 50 characters, what is beyond is cut.
    pub id: String,
    /// Where its service listens.
    pub port: u16,
}

impl Identity {
    /// The four letters and digits that the name ends with: the last ones of the id.
    pub fn short(&self) -> String {
        let plain = self.id.chars().filter(char::is_ascii_alphanumeric).map(|one| one.to_ascii_lowercase());
        let plain: Vec<char> = plain.collect();
        plain[plain.len().saturating_sub(4)..].iter().collect()
    }
}

/// One of our records, or several of one name and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// That there is such a service.
    Services,
    /// That this device has it.
    Service,
    /// Where.
    Server,
    /// What it tells.
    Text,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// That there are no addresses of another family.
    NoOther,
}

impl Kind {
    /// All that is announced.
    pub const ANNOUNCED: [Self; 6] =
        [Self::Services, Self::Service, Self::Server, Self::Text, Self::A, Self::Aaaa];

    /// Whether other devices have records of this name and type too.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Services | Self::Service)
    }
}

/// For whom records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Those who keep what they hear.
    Group,
    /// An asker who only knows unicast DNS.
    Legacy,
    /// Those who shall forget it.
    Goodbye,
    /// Others who may want the same names.
    Probe,
}

/// The records of a device on one link.
#[derive(Clone, Debug)]
pub struct Records {
    text: String,
    port: u16,
    stem: String,
    turn: u32,
    addresses: Vec<IpAddr>,
}

impl Records {
    /// Of a device that has these addresses on the link.
    pub fn new(identity: &Identity, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            text: format!("id={}", identity.id.chars().take(50).collect::<String>()),
            port: identity.port,
            stem: format!("gabion-{}", identity.short()),
            turn: 1,
            addresses: addresses.into_iter().take(MOST_ADDRESSES).collect(),
        }
    }

    /// Whether these are the link's addresses still.
    pub fn has(&self, addresses: &[IpAddr]) -> bool {
        self.addresses.iter().eq(addresses.iter().take(MOST_ADDRESSES))
    }

    /// Takes the next name: the one there was is somebody else's.
    pub fn rename(&mut self) {
        self.turn = self.turn.checked_add(1).unwrap_or(2);
    }

    /// The host's name without `.local`.
    pub fn label(&self) -> String {
        match self.turn {
            1 => self.stem.clone(),
            turn => format!("{}-{turn}", self.stem),
        }
    }

    /// The records of one kind.
    pub fn of(&self, kind: Kind, whom: For) -> Vec<ResourceRecord<'static>> {
        let label = self.label();
        let host = || name(&format!("{label}.local"));
        let instance = || name(&format!("{label}.{SERVICE}"));
        let (owner, ttl_s, datas): (_, _, Vec<RData<'static>>) = match kind {
            Kind::Services => (name(SERVICES), OTHER_TTL_S, vec![RData::PTR(PTR(name(SERVICE)))]),
            Kind::Service => (name(SERVICE), OTHER_TTL_S, vec![RData::PTR(PTR(instance()))]),
            Kind::Server => {
                let server = SRV { priority: 0, weight: 0, port: self.port, target: host() };
                (instance(), HOST_TTL_S, vec![RData::SRV(server)])
            }
            Kind::Text => {
                let string = self.text.as_str().try_into().ok();
                let text = string.into_iter().fold(TXT::new(), TXT::with_char_string);
                (instance(), OTHER_TTL_S, vec![RData::TXT(text.into_owned())])
            }
            Kind::A | Kind::Aaaa => {
                let datas = self.addresses.iter().filter_map(|address| match (kind, *address) {
                    (Kind::A, IpAddr::V4(address)) => Some(RData::A(A::from(address))),
                    (Kind::Aaaa, IpAddr::V6(address)) => Some(RData::AAAA(AAAA::from(address))),
                    _ => None,
                });
                (host(), HOST_TTL_S, datas.collect())
            }
            Kind::NoOther => {
                let types: Vec<TYPE> = [(Kind::A, TYPE::A), (Kind::Aaaa, TYPE::AAAA)]
                    .into_iter()
                    .filter(|(kind, _)| !self.is_empty(*kind))
                    .map(|(_, kind)| kind)
                    .collect();
                (host(), HOST_TTL_S, vec![RData::NSEC(NSEC::from_types(host(), &types))])
            }
        };
        let ttl_s = match whom {
            For::Group | For::Probe => ttl_s,
            For::Legacy => LEGACY_TTL_S,
            For::Goodbye => 0,
        };
        // Section 10.2: not in answers to those who know unicast DNS only, not in probes, never on what others share.
        let flush = !kind.is_shared() && matches!(whom, For::Group | For::Goodbye);
        let record =
            |data| ResourceRecord::new(owner.clone(), CLASS::IN, ttl_s, data).with_cache_flush(flush);
        datas.into_iter().map(record).collect()
    }

    fn is_empty(&self, kind: Kind) -> bool {
        !self.addresses.iter().any(|address| match kind {
            Kind::A => address.is_ipv4(),
            _ => address.is_ipv6(),
        })
    }

    /// What answers a question.
    pub fn answering(&self, question: &Question<'_>) -> BTreeSet<Kind> {
        if !matches!(question.qclass, QCLASS::ANY | QCLASS::CLASS(CLASS::IN)) {
            return BTreeSet::new();
        }
        let asked = |kind: Kind| {
            self.of(kind, For::Group)
                .iter()
                .any(|record| record.name == question.qname && record.match_qtype(question.qtype))
        };
        let mut found: BTreeSet<Kind> = Kind::ANNOUNCED.into_iter().filter(|kind| asked(*kind)).collect();
        let wants_address = matches!(question.qtype, QTYPE::TYPE(TYPE::A | TYPE::AAAA));
        if found.is_empty() && wants_address && question.qname == self.host() {
            found.insert(Kind::NoOther);
        }
        found
    }

    /// What an asker needs next, beside the answers (RFC 6763, section 12).
    pub fn beside(kinds: &BTreeSet<Kind>) -> BTreeSet<Kind> {
        let mut more = BTreeSet::new();
        if kinds.contains(&Kind::Service) {
            more.extend([Kind::Server, Kind::Text, Kind::A, Kind::Aaaa]);
        }
        if kinds.contains(&Kind::Server) {
            more.extend([Kind::A, Kind::Aaaa]);
        }
        &more - kinds
    }

    /// The names that are to be this device's alone.
    pub fn names(&self) -> [Name<'static>; 2] {
        [self.host(), name(&format!("{}.{SERVICE}", self.label()))]
    }

    fn host(&self) -> Name<'static> {
        name(&format!("{}.local", self.label()))
    }

    /// What is proposed for one of the names.
    pub fn proposed(&self, name: &Name<'_>) -> Vec<ResourceRecord<'static>> {
        let kinds = [Kind::A, Kind::Aaaa, Kind::Server];
        let all = kinds.into_iter().flat_map(|kind| self.of(kind, For::Probe));
        all.filter(|record| record.name == *name).collect()
    }
}

/// Names are made of our own words and the letters and digits of the id.
fn name(text: &str) -> Name<'static> {
    Name::new_unchecked(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Records {
        let identity = Identity { id: "0011-aaBB-CCdd".into(), port: 7000 };
        Records::new(&identity, ["192.0.2.7".parse().unwrap()])
    }

    fn asked(text: &str, kind: TYPE) -> BTreeSet<Kind> {
        let name = Name::new(text).unwrap();
        records().answering(&Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false))
    }

    #[test]
    fn name_is_of_the_end_of_the_id_and_counts_up() {
        let mut records = records();
        assert_eq!(records.label(), "gabion-ccdd");
        records.rename();
        assert_eq!(records.label(), "gabion-ccdd-2");
        let odd = Identity { id: "é.".into(), port: 1 };
        assert_eq!(odd.short(), "");
    }

    #[test]
    fn question_is_answered_by_what_it_asks_for() {
        assert_eq!(asked("Gabion-CCdd.LOCAL", TYPE::A), [Kind::A].into());
        assert_eq!(asked("gabion-ccdd.local", TYPE::AAAA), [Kind::NoOther].into());
        assert_eq!(asked("_gabion._tcp.local", TYPE::PTR), [Kind::Service].into());
        assert_eq!(asked("_services._dns-sd._udp.local", TYPE::PTR), [Kind::Services].into());
        assert_eq!(asked("gabion-ccdd._gabion._tcp.local", TYPE::SRV), [Kind::Server].into());
        assert_eq!(asked("gabion-eeee.local", TYPE::A), [].into());
        assert_eq!(asked("gabion-ccdd.local", TYPE::TXT), [].into());
    }

    #[test]
    fn text_tells_the_id_and_nothing_else() {
        let records = records();
        let RData::TXT(text) = &records.of(Kind::Text, For::Group)[0].rdata else { panic!("no text") };
        let told: Vec<_> = text.iter_raw().collect();
        assert_eq!(told, [(b"id".as_slice(), Some(b"0011-aaBB-CCdd".as_slice()))]);
    }
}
