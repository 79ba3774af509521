//! What `appsd` and sandboxd say to each other, on the socket that is `appsd`'s standard input.
//!
//! `appsd` reads the varlink that apps write; what it wants done comes here in fixed form. It is not believed more than
//! it may do anyway: it can list, start and stop apps, read their logs, and switch the device off. Every message is
//! bounded, and names are looked up, never used as paths.
//!
//! ```text
//! appsd ──Asked{number, ask}──▶ sandboxd        any number under way
//! appsd ◀──Told::Answer(number, answer)──       one each, in whatever order they are ready; a file as descriptor
//! appsd ◀──Told::News(news)──                   what was asked for by Follow, until the next Follow
//! ```
//!
//! `init` keeps the socket with the box, so it outlives either side. A new sandboxd says `News::Again`: what was under
//! way is lost, and what is followed has to be asked for anew. News that do not fit are counted, not kept.

use crate::control::EventKind;
use serde::{Deserialize, Serialize};

/// Longest text in an answer, bytes; leaves room for the rest of the message.
pub const TEXT_MAX: usize = 48 * 1024;
/// Apps in one answer.
pub const APPS_AT_ONCE: usize = 16;
/// Events of the bus in one answer; each is at most some 600 bytes.
pub const AUDIT_AT_ONCE: u16 = 100;
/// Grants in one answer.
pub const GRANTS_AT_ONCE: usize = 8;
/// Apps of developers in one answer, and apps with what they use.
pub const DEVELOPED_AT_ONCE: usize = 32;

/// A question with its number, which is `appsd`'s to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Repeated in the answer.
    pub number: u32,
    /// The question.
    pub ask: Ask,
}

/// What is asked. Apps are named by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Apps whose id comes after this one, sorted; [`APPS_AT_ONCE`] at most.
    Apps(String),
    /// One app.
    App(String),
    /// Start it; answered when it runs or can not.
    Start(String),
    /// End it; answered when nothing of it runs.
    Stop(String),
    /// End it and start it again; answered as `Start`.
    Restart(String),
    /// End it and erase what it has stored; answered when nobody can reach it any more. It need not be installed.
    Wipe(String),
    /// The end of its log.
    Log(String),
    /// Its whole log, as a sealed memfd.
    ExportLog(String),
    /// The end of the record of its exits.
    Exits(String),
    /// The newest events of the bus, so many at most.
    Audit(u16),
    /// Grants after this app and interface, sorted; [`GRANTS_AT_ONCE`] at most.
    Grants(String, String),
    /// May this app call that method of that interface?
    Why(String, String, String),
    /// The device.
    Device,
    /// Switch off, or start again.
    Power {
        /// Off, not again.
        off: bool,
        /// Who asked and why, for the record.
        reason: String,
    },
    /// Send news of this from now on, and of nothing else.
    Follow(Followed),
    /// What apps use whose id comes after this one, sorted; [`DEVELOPED_AT_ONCE`] at most. The system's are left out.
    Usage(String),
    /// What one app uses.
    UsageOf(String),
    /// A package of so many bytes is going to be sent.
    Begin(u64),
    /// A part of what was begun under this number, from this byte on; with it as a sealed memfd.
    Put(u32, u64),
    /// What was sent under this number is to be installed; answered when its box was handed over.
    Install(u32),
    /// What was sent under this number are releases, for updated.
    Carry(u32),
    /// What a developer installed of this app is to go; answered when it is gone.
    Remove(String),
    /// All of that.
    Leave,
    /// An app is to be started again under a debugger's server; answered when it is launched, with the socket that is the
    /// server's standard input and output. When its other end is closed the app is started again as it was.
    Debug(Debug),
    /// What developers installed, of apps whose id comes after this one, sorted; [`DEVELOPED_AT_ONCE`] at most.
    Developed(String),
}

/// What is to be debugged, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debug {
    /// The app.
    pub app: String,
    /// The developer's package that the server is in.
    pub server: String,
    /// How the server is started; the app's own command follows.
    pub command: Vec<String>,
}

/// What is followed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Output of these apps.
    pub logs: Vec<String>,
    /// Events of the bus.
    pub audit: bool,
    /// Exits.
    pub exits: bool,
    /// Every call on the bus. Refused on a device that is not a developer's.
    pub calls: bool,
}

/// What sandboxd says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// To the question with this number.
    Answer(u32, Answer),
    /// Unasked.
    News(News),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Apps` and `App`.
    Apps(Vec<App>),
    /// It is done, or was so already.
    Done,
    /// There is no app of this id.
    NoApp,
    /// To `Debug`: the server's package is not there.
    NoServer,
    /// It is the system's own and stays.
    SystemApp,
    /// It is being started or stopped already.
    Busy,
    /// It could not be done; why, for people.
    Refused(String),
    /// To `Log` and `Exits`: whole lines, oldest first.
    Text {
        /// The end of the file.
        text: String,
        /// Lines that were not kept since the device booted.
        lost: u64,
    },
    /// To `ExportLog`, with the memfd; its length in bytes.
    File(u64),
    /// To `Audit`, oldest first.
    Audit {
        /// The events.
        events: Vec<Audit>,
        /// How many were lost because there was no room.
        lost: u64,
    },
    /// To `Grants`.
    Grants(Vec<GrantLine>),
    /// To `Why`.
    Why {
        /// Whether it may.
        allowed: bool,
        /// The line that says so, or would.
        because: String,
    },
    /// To `Device`.
    Device(Device),
    /// To `Usage` and `UsageOf`.
    Usage(Vec<Usage>),
    /// To `Begin`: under which number.
    Begun(u32),
    /// To `Install`: the app, its version, the root hash of its image.
    Installed(String, String, String),
    /// To `Developed`.
    Developed(Vec<Developed>),
    /// To `Leave`: how many went.
    Left(u32),
}

/// An app that a developer installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Developed {
    /// The app's id.
    pub app: String,
    /// Its version.
    pub version: String,
    /// Who signed it.
    pub who: Option<String>,
    /// The version of what lies beneath it.
    pub beneath: Option<String>,
}

/// What an app uses, and may; units as in `os.gabion.Developer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The app's id.
    pub app: String,
    /// Processor time, and how much it may use.
    pub cpu: (u64, Option<u64>),
    /// Memory now, the most of it, the limit.
    pub memory: (u64, u64, Option<u64>),
    /// Tasks, and how many there may be.
    pub tasks: (u64, Option<u64>),
    /// Bytes stored, and how many may be.
    pub storage: (u64, u64),
    /// Starts after the first.
    pub restarts: u32,
    /// How long it has been running.
    pub uptime_ms: Option<u64>,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its id.
    pub id: String,
    /// Its version, once its manifest is read.
    pub version: Option<String>,
    /// Whether it is the system's.
    pub system: bool,
    /// Where it stands.
    pub state: AppState,
    /// Its uid.
    pub uid: u32,
    /// Its first process.
    pub pid: Option<u32>,
    /// Memory charged to it, bytes.
    pub memory_bytes: Option<u64>,
    /// Starts after the first.
    pub restarts: u32,
    /// Whether W^X is lifted for it.
    pub jit: bool,
    /// What it says of itself.
    pub status: Option<String>,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Why it failed.
    pub problem: Option<String>,
}

/// Where an app stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppState {
    /// Its manifest is being read.
    Preparing,
    /// It is being launched, or is not ready yet.
    Starting,
    /// It runs.
    Running,
    /// It is started again later.
    Waiting,
    /// It stays down.
    Stopped,
    /// It can not be started.
    Failed,
}

/// How an app ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// RFC 3339.
    pub time: String,
    /// One word.
    pub reason: String,
    /// Details, one line.
    pub detail: String,
    /// How long it ran, milliseconds.
    pub uptime_ms: u64,
    /// How many ends of it were recorded.
    pub count: u64,
}

/// One event of the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// From 1.
    pub number: u64,
    /// RFC 3339.
    pub time: String,
    /// The kind.
    pub kind: EventKind,
    /// The app's id.
    pub app: String,
    /// The interface.
    pub interface: String,
    /// The connection, or 0.
    pub serial: u64,
    /// Details, one line.
    pub detail: String,
    /// How many like it were not told.
    pub suppressed: u32,
}

impl Audit {
    /// Whether it is about a call: one that was made, or one that was refused, both told by the method's name. Whatever
    /// else is refused comes with a reason, which is more than a word.
    pub fn is_call(&self) -> bool {
        let refused = self.kind == EventKind::Refused && self.serial != 0 && !self.detail.contains(' ');
        refused || self.kind == EventKind::Called
    }
}

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantLine {
    /// Who may call.
    pub app: String,
    /// What.
    pub interface: String,
    /// Which methods.
    pub methods: Vec<String>,
    /// Who serves it.
    pub server: Option<String>,
    /// Open connections.
    pub connections: u32,
}

/// What only sandboxd can tell of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Which release of the system runs; empty when it does not say.
    pub os_version: String,
    /// As the firmware names it.
    pub board: String,
    /// 32 hexadecimal digits.
    pub boot_id: String,
    /// System only.
    pub safe_mode: bool,
    /// Whether it is a developer's.
    pub developer: bool,
}

/// News.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Lines of an app, as in its log.
    Lines {
        /// The app.
        app: String,
        /// Whole lines.
        text: String,
    },
    /// An event of the bus.
    Audit(Audit),
    /// An app ended.
    Exit {
        /// The app.
        app: String,
        /// Whether it is the system's.
        system: bool,
        /// How.
        exit: Exit,
    },
    /// So many news did not fit.
    Lost(u32),
    /// A new sandboxd: ask again for what is followed.
    Again,
}

macro_rules! message {
    ($name:ident) => {
        impl $name {
            /// The message as bytes.
            pub fn encode(&self) -> Vec<u8> {
                // Plain strings and numbers into a vector: nothing can fail.
                postcard::to_stdvec(self).unwrap_or_default()
            }

            /// The message that is these bytes and no more.
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                postcard::take_from_bytes(bytes)
                    .ok()
                    .and_then(|(message, rest)| rest.is_empty().then_some(message))
            }
        }
    };
}
message!(Asked);
message!(Told);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn message_encoded_decodes_to_itself_and_not_when_cut() {
        let asked =
            Asked { number: 7, ask: Ask::Why("com.example.a".into(), "os.gabion.Time".into(), "X".into()) };
        let bytes = asked.encode();
        assert_eq!(Asked::decode(&bytes), Some(asked));
        for n in 0..bytes.len() {
            assert_eq!(Asked::decode(&bytes[..n]), None);
        }
        let told = Told::Answer(7, Answer::Text { text: "x\n".into(), lost: 3 });
        assert_eq!(Told::decode(&told.encode()), Some(told));
    }

    #[test]
    fn refused_connection_is_no_refused_call() {
        let about = |kind, serial, detail: &str| Audit {
            number: 1,
            time: String::new(),
            kind,
            app: "com.example.a".into(),
            interface: "os.gabion.Power".into(),
            serial,
            detail: detail.into(),
            suppressed: 0,
        };
        assert!(about(EventKind::Called, 7, "Reboot").is_call());
        assert!(about(EventKind::Refused, 7, "Reboot").is_call());
        assert!(!about(EventKind::Refused, 7, "nobody serves it").is_call());
        assert!(!about(EventKind::Refused, 0, "Reboot").is_call());
        assert!(!about(EventKind::Dropped, 7, "too-long").is_call());
    }

    proptest! {
        #[test]
        fn decode_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Asked::decode(&bytes);
            let _ = Told::decode(&bytes);
        }
    }
}
