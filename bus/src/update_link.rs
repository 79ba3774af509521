//! What `sandboxd` and `updated` say to each other: one `SOCK_SEQPACKET` message each, in postcard's encoding.
//!
//! The socket pair lives as long as updated's box, as with [`attest_link`](crate::attest_link): either side may be killed,
//! and a new one hears the whole state.
//!
//! ```text
//! updated starts    updated ──Hello──▶ sandboxd    answers with the whole state
//! sandboxd starts                                  sends it unasked
//!
//! state = Sync · Config(fd)? · Trust(fd)? · Service · System? · App* · (Installed | Settled)? · ClockSet? · Attested? · SyncEnd
//! and later: Disk(fd), DiskGone, by itself
//!
//! the system:   Slot ──▶ sandboxd leaves one kernel image ──Slot(fds)──▶ updated writes the other slot
//!               Kernel ──▶ ──Kernel(fd)──▶                     what runs now, for patches
//!               Arm(fd) ──▶ sandboxd reads the slot back under its root hash, and arms it ──Armed──▶
//!               Reboot ──▶ the device boots: System says `trial` ──▶ Bless or Fail ──▶ Blessed, or it boots again
//! apps:         Incoming ──▶ ──Incoming(fds)──▶ updated writes the file
//!               Install(fds) ──▶ sandboxd checks, stops, switches, starts ──Installed──▶ on trial ──Settled──▶
//!               Remove ──▶ ──Installed──▶
//! whatever can not be done: ──Refused──▶, once for each request
//! ```
//!
//! updated answers for what was signed: sandboxd has no keys. It holds itself to what protects the device whatever updated
//! says: a slot is written that does not run, a kernel image that nobody signed does not start, a version does not go down, a
//! package is checked in the worker's box and mounted under its root hash alone, and measured.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::attest_link::SERVICE_MAX;
use crate::packet::{self, is_text};

/// Longest kernel image, bytes.
pub const KERNEL_MAX: u64 = 16 << 20;
/// Longest manifest of an app, bytes.
pub const MANIFEST_MAX: u64 = 256 << 10;
/// Longest text of `update.toml` and longest first root, bytes.
pub const CONFIG_MAX: u64 = 64 << 10;
/// Apps that are installed at once: each has one descriptor of the message.
pub const TOGETHER_MAX: usize = 64;
/// Longest text for people, bytes.
const TEXT_MAX: usize = 320;

/// What `sandboxd` tells `updated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToUpdated {
    /// The state follows.
    Sync,
    /// `update.toml`, as a sealed memfd: the owner's settings.
    Config,
    /// The repository's root that the image was made with, as a sealed memfd.
    Trust,
    /// The text of `service.toml`, empty when there is none; and updated's own name server.
    Service(String, Ipv4Addr),
    /// The system that runs; not sent on a device whose disk has no slots.
    System(System),
    /// An app, or how it is doing now.
    App(App),
    /// An app that is gone.
    Gone(String),
    /// The clock is set.
    ClockSet,
    /// A round with the service went well since the device booted.
    Attested,
    /// A disk with a repository of updates was put in, or a developer has sent what would be on it: for reading.
    Disk(Came),
    /// That is gone.
    DiskGone,
    /// That was the state.
    SyncEnd,
    /// The root that runs and its hash tree, for reading; the other slot's root and hash tree, for writing.
    Slot,
    /// The kernel image that runs, as a sealed memfd.
    Kernel,
    /// The other slot starts at the next boot, on trial.
    Armed,
    /// The system that runs is good; nothing older starts any more.
    Blessed,
    /// The file for an app's new image, for reading and writing; and the image that it has now, for reading, if it has one. How
    /// many bytes were there already is the file's length: the file is kept until it is installed or another is asked for.
    Incoming,
    /// The apps were switched, and are on trial; or removed; or go back as their owner said.
    Installed,
    /// The trial of what was installed together ended: none, or why all of it went back. In a state it is how the last one ended,
    /// told again until an `Incoming` is asked for: whoever was there may not have heard it. A state with neither this nor
    /// `Installed` says that nothing was installed since.
    Settled(Option<String>),
    /// What was asked for last was not done, and why.
    Refused(String),
}

/// How a repository of updates came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Came {
    /// On a disk, which anybody may have put in.
    Disk,
    /// A developer of this device has sent it.
    Developer,
}

/// The system that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Its version.
    pub version: String,
    /// Of its root.
    pub root_hash: [u8; 32],
    /// It was started by an update and nobody has said yet that it is good.
    pub trial: bool,
    /// What this device does not go back behind.
    pub floor: u32,
    /// A system that was tried and did not last: its version, and why it is known not to.
    pub failed: Option<(String, String)>,
}

/// An app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The app's id.
    pub id: String,
    /// Its uid: who asks on the bus is known by it.
    pub uid: u32,
    /// Its version.
    pub version: String,
    /// The root hash of its image, lower-case hex; empty for one whose files are in the image of the system.
    pub root_hash: String,
    /// It came by an update; one that did not can be replaced and not removed.
    pub installed: bool,
    /// It runs, or has ended as it should and stays so.
    pub running: bool,
}

/// An app's release that is to be installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The app's id, which the manifest has to have.
    pub id: String,
    /// The version, which the manifest has to have.
    pub version: String,
    /// The text of `root.verity`: where the hash tree is, and what it must be.
    pub verity: String,
}

/// What `updated` tells `sandboxd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromUpdated {
    /// It has started and knows nothing.
    Hello,
    /// Something for people, for the console.
    Say(String),
    /// The developer's permit that the service has for this device, by its id; empty if it has none.
    Permit(String),
    /// The addresses that updated has to reach, each `HOST:PORT/tcp`.
    Reach(Vec<String>),
    /// The other slot is going to be written.
    Slot,
    /// The kernel image that runs is asked for.
    Kernel,
    /// The other slot is written: its version, the text that says where its hash tree is and what it must be, as in
    /// `root.verity`, and what the device does not go back behind once it is good. With the kernel image as a sealed memfd.
    Arm(String, String, u32),
    /// The device is to boot, in order, because of an update.
    Reboot,
    /// The system that runs is good.
    Bless,
    /// The system that runs is not good, and why: the device boots the one before.
    Fail(String),
    /// A file for the image of this app with this version and this length is asked for.
    Incoming(String, String, u64),
    /// These apps are to be installed, all or none, each with its manifest as a sealed memfd, in their order; and how long
    /// each has to run, seconds. Their files are those that were asked for with `Incoming`.
    Install(Vec<Package>, u32),
    /// This app is to be removed, with its data.
    Remove(String),
    /// This app, which is on trial, is to go back to what it was, and with it what was installed together with it.
    Back(String),
    /// Nothing is wanted any more of what a developer has sent.
    CarriedEnd,
    /// The owner takes updates of disks that are put in: without this none is looked at, and USB stays closed.
    Disks,
    /// The images of these apps, each in this version, are all that is still to come: what was begun of others may go.
    Wanted(Vec<(String, String)>),
}

impl ToUpdated {
    /// The message as bytes, without its descriptors.
    pub fn encode(&self) -> Vec<u8> {
        packet::encode(self)
    }

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        packet::decode(bytes).filter(|message| match message {
            Self::Service(text, _) => text.len() <= SERVICE_MAX,
            Self::System(system) => {
                let failed = system.failed.iter().flat_map(|(version, why)| [version, why]);
                std::iter::once(&system.version).chain(failed).all(|text| is_text(text, TEXT_MAX))
            }
            Self::App(app) => {
                [&app.id, &app.version, &app.root_hash].iter().all(|text| is_text(text, TEXT_MAX))
            }
            Self::Gone(text) | Self::Refused(text) | Self::Settled(Some(text)) => is_text(text, TEXT_MAX),
            _ => true,
        })
    }
}

impl FromUpdated {
    /// The message as bytes, without its descriptors.
    pub fn encode(&self) -> Vec<u8> {
        packet::encode(self)
    }

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        packet::decode(bytes).filter(|message| match message {
            Self::Say(text)
            | Self::Fail(text)
            | Self::Remove(text)
            | Self::Back(text)
            | Self::Permit(text) => is_text(text, TEXT_MAX),
            Self::Reach(addresses) => {
                addresses.len() <= 4 && addresses.iter().all(|text| is_text(text, TEXT_MAX))
            }
            Self::Arm(version, verity, _) => [version, verity].iter().all(|text| is_text(text, TEXT_MAX)),
            Self::Incoming(id, version, _) => [id, version].iter().all(|text| is_text(text, TEXT_MAX)),
            Self::Wanted(images) => {
                let texts = images.iter().flat_map(|(id, version)| [id, version]);
                images.len() <= TOGETHER_MAX && texts.into_iter().all(|text| is_text(text, TEXT_MAX))
            }
            Self::Install(packages, _) => {
                let texts = packages.iter().flat_map(|one| [&one.id, &one.version, &one.verity]);
                (1..=TOGETHER_MAX).contains(&packages.len())
                    && texts.into_iter().all(|text| is_text(text, TEXT_MAX))
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
        let system = System { version: "1.2".to_owned(), trial: true, ..System::default() };
        let app = App { id: "com.example.a".to_owned(), uid: 10_000, ..App::default() };
        for message in [ToUpdated::Sync, ToUpdated::System(system), ToUpdated::App(app)] {
            let bytes = message.encode();
            assert_eq!(ToUpdated::decode(&bytes), Some(message));
            for n in 0..bytes.len() {
                assert_eq!(ToUpdated::decode(&bytes[..n]), None);
            }
        }
        let package = Package { id: "com.example.a".to_owned(), ..Package::default() };
        for message in [FromUpdated::Hello, FromUpdated::Install(vec![package], 60)] {
            assert_eq!(FromUpdated::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn install_of_none_or_too_many_is_no_message() {
        for count in [0, TOGETHER_MAX + 1] {
            let message = FromUpdated::Install(vec![Package::default(); count], 60);
            assert_eq!(FromUpdated::decode(&message.encode()), None);
        }
        let wanted = |count| FromUpdated::Wanted(vec![("com.example.a".to_owned(), "1.0".to_owned()); count]);
        assert_eq!(FromUpdated::decode(&wanted(TOGETHER_MAX + 1).encode()), None);
        assert_eq!(FromUpdated::decode(&wanted(0).encode()), Some(wanted(0)));
        assert_eq!(FromUpdated::decode(&FromUpdated::Fail("a\u{1b}[2J".to_owned()).encode()), None);
    }

    proptest! {
        #[test]
        fn decode_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FromUpdated::decode(&bytes);
            let _ = ToUpdated::decode(&bytes);
        }
    }
}
