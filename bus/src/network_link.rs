//! What `sandboxd` and `netd` say to each other: one `SOCK_SEQPACKET` message each, in postcard's encoding.
//!
//! The socket pair lives as long as netd's box: `init` keeps our end of it, so either side may be killed and the next one
//! goes on with the same socket.
//!
//! ```text
//! netd starts      netd ──Hello──▶ sandboxd     answers with the whole state
//! sandboxd starts                               sends it unasked
//!
//! state = Sync · Firewall? · Config · Floor? · App* · SyncEnd
//! ```
//!
//! A `Config` that netd can not read it answers with `Fault`, and sandboxd sends the next best one; the last is empty.
//!
//! An app that is not named between `Sync` and `SyncEnd` has no policy any more. Outside of a state `App` replaces one
//! app's policy and `Gone` ends it. netd answers each `App` with `Taken` once the kernel holds it: sandboxd launches the
//! box then and not before. What was under way to one that died is read by the next, which does no harm: a policy is
//! named whole, and a state follows.
//!
//! netd believes what sandboxd says; sandboxd believes nothing of netd but its form: who takes netd over can let every
//! app through, for that is netd's to decide, and reaches nothing of sandboxd.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::packet::{self, is_text};

/// Longest text of a configuration, bytes.
pub const CONFIG_MAX: usize = 32 << 10;
/// Longest text in a refusal, bytes.
const TEXT_MAX: usize = 320;

/// What `sandboxd` tells `netd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNetd {
    /// The state follows.
    Sync,
    /// The firewall's tables, as descriptors, in the order of the crate `firewall`.
    Firewall,
    /// The text of `network.toml`; empty when there is none.
    Config(String),
    /// It was at least this late when the device last knew the time: seconds since 1970-01-01 UTC.
    Floor(u64),
    /// An app's policy.
    App(Grants),
    /// An app that has no policy any more, by its uid.
    Gone(u32),
    /// That was the state.
    SyncEnd,
    /// Which name led the box `uid` to this address? Answered by the `Name` with the same number.
    Name {
        /// The question's number.
        ask: u32,
        /// The box.
        uid: u32,
        /// Where it wanted to go.
        address: IpAddr,
    },
}

/// What an app was granted, as in its manifest, where it was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// The box.
    pub uid: u32,
    /// The app's id.
    pub id: String,
    /// `connect`, each `HOST:PORT/PROTO`.
    pub connect: Vec<String>,
    /// `listen`, each `PORT/PROTO` or `localhost:PORT/PROTO`.
    pub listen: Vec<String>,
    /// `private`: hosts.
    pub private: Vec<String>,
    /// The firewall does not apply: a box of the system that manages the network, or, in a test build, one that lacks
    /// this layer.
    pub unfiltered: bool,
}

/// What `netd` tells `sandboxd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNetd {
    /// It has started and knows nothing.
    Hello,
    /// The kernel holds this box's policy, by its uid.
    Taken(u32),
    /// Calls or packets that were refused.
    Refused(Refusal),
    /// The time is known, and it is this late: seconds since 1970-01-01 UTC.
    Keep(u64),
    /// A new `network.toml`, which netd has checked and taken: to be kept.
    Store(String),
    /// What is wrong with the last `Config`, for people. It is passed over; the next best is expected.
    Fault(String),
    /// The answer to the `Name` with this number.
    Name {
        /// The question's number.
        ask: u32,
        /// A host of the app's manifest; empty if none led it there.
        host: String,
    },
    /// Whether a link is to have IPv6: a setting of the kernel's in `/proc/sys`, which is no part of netd's box.
    Ipv6 {
        /// The kernel's name of the link, not the loopback's.
        link: String,
        /// Whether it is to.
        on: bool,
    },
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Act {
    /// `connect(2)`.
    Connect,
    /// A datagram.
    Send,
    /// `bind(2)`, or somebody's packet for a port that is not served.
    Listen,
    /// A name to be resolved.
    Resolve,
}

/// Refused calls of one box that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The box.
    pub uid: u32,
    /// What it did.
    pub act: Act,
    /// Host or address, without brackets; empty where there is none.
    pub peer: String,
    /// Port; 0 where there is none.
    pub port: u16,
    /// Whether it was UDP.
    pub udp: bool,
    /// How many since the last message about the like.
    pub count: u32,
    /// The line of the manifest that would allow it, as `connect = ["host:1/tcp"]`; empty if none can.
    pub allow: String,
}

impl ToNetd {
    /// The message as bytes, without its descriptors.
    pub fn encode(&self) -> Vec<u8> {
        packet::encode(self)
    }

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        packet::decode(bytes)
            .filter(|message| !matches!(message, Self::Config(text) if text.len() > CONFIG_MAX))
    }
}

impl FromNetd {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        packet::encode(self)
    }

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        packet::decode(bytes).filter(|message| match message {
            Self::Hello | Self::Taken(_) | Self::Keep(_) => true,
            Self::Refused(refusal) => {
                is_text(&refusal.peer, TEXT_MAX) && is_text(&refusal.allow, TEXT_MAX) && refusal.count > 0
            }
            Self::Store(text) => text.len() <= CONFIG_MAX,
            Self::Fault(text) | Self::Name { host: text, .. } => is_text(text, TEXT_MAX),
            Self::Ipv6 { link, .. } => is_link(link),
        })
    }
}

/// The name of one link, which is a part of a path: not those that mean several, and no way out.
fn is_link(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    (1..16).contains(&name.len()) && plain && !matches!(name, "." | ".." | "all" | "default" | "lo")
}

/// Any text as one line for people, as they are sent here: what does not fit is cut, what can not be shown is a `?`.
pub fn line(text: &str) -> String {
    let shown = text.chars().map(|c| if matches!(c, ' '..='~') && c != '\\' { c } else { '?' });
    shown.take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal() -> Refusal {
        Refusal {
            uid: 10_000,
            act: Act::Connect,
            peer: "192.0.2.7".to_owned(),
            port: 443,
            udp: false,
            count: 3,
            allow: "connect = [\"192.0.2.7:443/tcp\"]".to_owned(),
        }
    }

    #[test]
    fn message_encoded_decodes_to_itself_and_not_when_cut() {
        let grants = Grants { uid: 10_000, connect: vec!["a.example:1/tcp".to_owned()], ..Grants::default() };
        for message in [ToNetd::Sync, ToNetd::App(grants), ToNetd::Config("[dns]".to_owned())] {
            let bytes = message.encode();
            assert_eq!(ToNetd::decode(&bytes), Some(message));
            for n in 0..bytes.len() {
                assert_eq!(ToNetd::decode(&bytes[..n]), None);
            }
        }
        let name = FromNetd::Name { ask: 7, host: "web.example".to_owned() };
        let ipv6 = FromNetd::Ipv6 { link: "eth0.7".to_owned(), on: false };
        for message in [FromNetd::Hello, FromNetd::Taken(7), FromNetd::Refused(refusal()), name, ipv6] {
            assert_eq!(FromNetd::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn message_about_what_is_no_single_link_is_none() {
        for link in ["", ".", "..", "all", "default", "lo", "a/b", "a b", "sixteen-is-long."] {
            let message = FromNetd::Ipv6 { link: link.to_owned(), on: true };
            assert_eq!(FromNetd::decode(&message.encode()), None, "{link}");
        }
    }

    #[test]
    fn message_with_control_characters_or_too_long_is_none() {
        for peer in ["a\nb".to_owned(), "a\\".to_owned(), "é".to_owned(), "a".repeat(321)] {
            let fault = FromNetd::Fault(peer.clone());
            let message = FromNetd::Refused(Refusal { peer, ..refusal() });
            for message in [message, fault] {
                assert_eq!(FromNetd::decode(&message.encode()), None);
            }
        }
        assert_eq!(FromNetd::decode(&FromNetd::Store(" ".repeat(CONFIG_MAX + 1)).encode()), None);
    }

    proptest! {
        #[test]
        fn line_of_any_text_is_sent(text in "\\PC{0,400}") {
            let message = FromNetd::Fault(line(&text));
            prop_assert_eq!(FromNetd::decode(&message.encode()), Some(message));
        }

        #[test]
        fn decode_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FromNetd::decode(&bytes);
            let _ = ToNetd::decode(&bytes);
        }
    }
}
