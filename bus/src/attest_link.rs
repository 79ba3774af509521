//! What `sandboxd` and `attestd` say to each other: one `SOCK_SEQPACKET` message each, in postcard's encoding.
//!
//! The socket pair lives as long as attestd's box, as with [`network_link`](crate::network_link): either side may be
//! killed, and a new one hears the whole state.
//!
//! ```text
//! attestd starts   attestd ──Hello──▶ sandboxd    answers with the whole state
//! sandboxd starts                                 sends it unasked
//!
//! state = Sync · Floor · Release · Unlock(fds) while the data device is locked; then, or once it can not be opened,
//!         Sync · Floor · Release · Packages(fd) · Boot(fd)? · Kept(fd)? · Service · ClockSet? · App* · Report* · SyncEnd
//!
//! before an app is launched for the first time since the device booted:
//!   App(fd) ──▶ attestd ──Record──▶ sandboxd keeps it ──Recorded──▶ attestd extends the TPM ──Measured──▶ launch
//! once the data device is open, and once the system that runs is known to be good:
//!   ──Raised──▶      Raise(fds) ──▶ attestd counts up in the TPM ──Raised──▶
//! whenever it changes, and once it is known after the state was told:
//!   attestd ──Developer──▶ sandboxd
//! for a recovery key, once the data device is open:
//!   Header ──▶ sandboxd ──Header(fds)──▶ attestd ──Rewrite(fd)──▶ sandboxd writes it ──Rewritten──▶ attestd tells the service
//! ```
//!
//! The record is kept before the TPM is extended, so that whoever starts anew after a crash between the two finds a
//! record whose digest the TPM lacks, never the other way round, and extends it then.
//!
//! attestd has no storage: what it must not lose sandboxd keeps (`Keep`). sandboxd believes nothing of attestd but its
//! form. Who takes attestd over has the device's identity and the key of its storage, and can let an app be launched that
//! was not measured; nothing of sandboxd's.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::packet::{self, is_text};

/// Longest text of `service.toml`, bytes.
pub const SERVICE_MAX: usize = 32 << 10;
/// Longest record of the package log, bytes.
pub const RECORD_MAX: usize = 4 << 10;
/// Most that is kept for attestd, bytes.
pub const KEPT_MAX: u64 = 1 << 20;
/// Longest text for people, bytes.
const TEXT_MAX: usize = 320;
/// Bytes at the beginning of the data device that hold its LUKS2 header and key slots.
pub const HEADER_MAX: u64 = 2 << 20;
/// Bytes of each of the two copies of a LUKS2 header, which lie one behind the other at the device's beginning.
pub const HEADER_COPY: usize = 16 << 10;
/// What a data device begins with while it is being sealed, so that one that was cut short is known from one that holds
/// something.
pub const SEALING: &[u8; 16] = b"GABION-SEALING-1";
/// Bytes of a volume key: two of AES-256, for XTS.
pub const VOLUME_KEY: usize = 64;

/// What `sandboxd` tells `attestd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAttestd {
    /// The state follows.
    Sync,
    /// What the system that runs lets no older one behind, as its signed command line says it: the data device is not opened for
    /// a system whose number is below the device's own.
    Floor(u32),
    /// Which release of the system runs; empty when it does not say.
    Release(String),
    /// The package log since the device booted, as a descriptor: each record with a line feed behind it.
    Packages,
    /// The firmware's event log, as a descriptor.
    Boot,
    /// What was kept last, as a sealed memfd.
    Kept,
    /// The text of `service.toml`, empty when there is none; and attestd's own name server.
    Service(String, Ipv4Addr),
    /// The clock is set.
    ClockSet,
    /// The data device is to be unlocked: its first bytes, as a sealed memfd, and the boot images on the ESP, from one
    /// of which the signature over the boot state comes.
    Unlock,
    /// An app; its manifest as a descriptor.
    App(Package),
    /// An app that is gone, by its uid: its key is of no use any more.
    Gone(u32),
    /// The record is kept.
    Recorded,
    /// Something that the service should hear of.
    Report(Report),
    /// The developer's permit that the service has for this device, by its id, as updated heard; empty if it has none. What
    /// attestd is given at a round counts, and this is a reason to make one.
    Permit(String),
    /// That was the state.
    SyncEnd,
    /// The same descriptors as with `Unlock`, of the data device as it is now: attestd asked.
    Header,
    /// What attestd sent with `Rewrite` is on the medium.
    Rewritten,
    /// The system that runs is good: from now on the device does not go back behind its number. The same descriptors as with
    /// `Unlock`.
    Raise,
}

/// An app as it is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The box. A uid is never handed out twice, so that it tells one installation of an app from the next.
    pub uid: u32,
    /// The app's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The dm-verity root hash of its image, lower-case hex; empty for an app whose files are in the store itself, for
    /// which the store's stands, on the kernel's command line.
    pub root_hash: String,
    /// Its manifest names `os.gabion.Certificate`: it gets one.
    pub certificate: bool,
}

/// A developer whom a permit lets put apps onto the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Developer {
    /// SHA-256 of his certificate.
    pub certificate: [u8; 32],
    /// His key, on P-256.
    pub x: [u8; 32],
    /// The other half of it.
    pub y: [u8; 32],
}

/// Ends or refusals of one app that are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its number; a later state of the same has a higher one.
    pub number: u64,
    /// The app's id, or the system box's.
    pub id: String,
    /// Its version; empty when it is not known.
    pub version: String,
    /// One word: `exit`, `signal`, `seccomp`, `denied`, …
    pub kind: String,
    /// What exactly, as on the console: `signal=SIGSEGV`.
    pub detail: String,
    /// How many.
    pub count: u64,
    /// When the first came, seconds since 1970-01-01 UTC.
    pub first_s: u64,
    /// When the last came.
    pub last_s: u64,
}

/// What `attestd` tells `sandboxd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAttestd {
    /// It has started and knows nothing.
    Hello,
    /// A record of the package log, one line, to be kept.
    Record(String),
    /// The TPM holds this app's measurement, by its uid.
    Measured(u32),
    /// The app can not be measured, and why.
    Unmeasured(u32, String),
    /// The data device's volume key, where the data begins, bytes, and how many bytes are encrypted as one.
    Unlocked([[u8; 32]; 2], u64, u32),
    /// The same for a device that was blank; what has to be written to its beginning comes as a sealed memfd.
    Formatted([[u8; 32]; 2], u64, u32),
    /// The data device can not be unlocked, and why.
    Locked(String),
    /// The one address that attestd has to reach, `HOST:PORT/tcp`; empty for none.
    Reach(String),
    /// What is to be kept in place of the last, as a sealed memfd.
    Keep,
    /// The service has every report up to this number.
    Reported(u64),
    /// Something for people, for the console.
    Say(String),
    /// The header of the data device, which is open, is asked for.
    Header,
    /// What is to be written in its place, as a sealed memfd. What did not change is not written.
    Rewrite,
    /// A round with the service went well: the device is what it says it is. Said again when the state is told again.
    Attested,
    /// Who may put apps onto the device from now on; nobody, and what developers put there is to go. Not said while it is not known.
    Developer(Option<Developer>),
    /// What the device does not go back behind: once the data device is open, and for each `Raise`.
    Raised(u32),
}

impl ToAttestd {
    /// The message as bytes, without its descriptors.
    pub fn encode(&self) -> Vec<u8> {
        packet::encode(self)
    }

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        packet::decode(bytes).filter(|message| match message {
            Self::Service(text, _) => text.len() <= SERVICE_MAX,
            Self::Release(text) => is_text(text, TEXT_MAX),
            Self::App(app) => {
                [&app.id, &app.version, &app.root_hash].iter().all(|text| is_text(text, TEXT_MAX))
            }
            Self::Report(report) => {
                let texts = [&report.id, &report.version, &report.kind, &report.detail];
                texts.iter().all(|text| is_text(text, TEXT_MAX))
            }
            _ => true,
        })
    }
}

impl FromAttestd {
    /// The message as bytes, without its descriptors.
    pub fn encode(&self) -> Vec<u8> {
        packet::encode(self)
    }

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        packet::decode(bytes).filter(|message| match message {
            Self::Record(line) => line.len() <= RECORD_MAX && !line.is_empty() && !line.contains('\n'),
            Self::Unmeasured(_, text) | Self::Locked(text) | Self::Reach(text) | Self::Say(text) => {
                is_text(text, TEXT_MAX)
            }
            _ => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn message_encoded_decodes_to_itself_and_not_when_cut() {
        let app = Package { uid: 10_000, id: "com.example.a".to_owned(), ..Package::default() };
        let report = Report { number: 7, kind: "exit".to_owned(), count: 1, ..Report::default() };
        for message in [ToAttestd::Sync, ToAttestd::Floor(3), ToAttestd::App(app), ToAttestd::Report(report)]
        {
            let bytes = message.encode();
            assert_eq!(ToAttestd::decode(&bytes), Some(message));
            for n in 0..bytes.len() {
                assert_eq!(ToAttestd::decode(&bytes[..n]), None);
            }
        }
        let key = FromAttestd::Unlocked([[1; 32], [2; 32]], 16 << 20, 4096);
        let raised = FromAttestd::Raised(3);
        let developer =
            FromAttestd::Developer(Some(Developer { certificate: [1; 32], x: [2; 32], y: [3; 32] }));
        let nobody = FromAttestd::Developer(None);
        for message in
            [FromAttestd::Hello, key, raised, developer, nobody, FromAttestd::Record("{}".to_owned())]
        {
            assert_eq!(FromAttestd::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn record_of_more_than_one_line_or_too_long_is_none() {
        for line in ["a\nb".to_owned(), String::new(), "a".repeat(RECORD_MAX + 1)] {
            assert_eq!(FromAttestd::decode(&FromAttestd::Record(line).encode()), None);
        }
        assert_eq!(FromAttestd::decode(&FromAttestd::Say("a\u{1b}[2J".to_owned()).encode()), None);
    }

    proptest! {
        #[test]
        fn decode_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FromAttestd::decode(&bytes);
            let _ = ToAttestd::decode(&bytes);
        }
    }
}
