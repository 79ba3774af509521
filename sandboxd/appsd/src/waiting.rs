//! Calls that wait for an answer of the desk, each with what is known for it so far.

use bus::desk::{self, Exit};
use bus::interfaces::{apps, audit, bus as bus_interface, crashes, developer, device, power};
use bus::server::{CallId, Pending};

/// A call, and what has been gathered.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// All apps, page by page.
    Apps(Pending<apps::List>, Vec<desk::App>),
    /// One app.
    Status(Pending<apps::GetStatus>, String),
    /// It is being started.
    Start(Pending<apps::Start>, String),
    /// It is being ended.
    Stop(Pending<apps::Stop>, String),
    /// Both.
    Restart(Pending<apps::Restart>, String),
    /// What it has stored is being erased.
    Wipe(Pending<apps::Wipe>, String),
    /// The end of its log, so many lines.
    Log(Pending<apps::GetLog>, String, usize),
    /// The same, and then what comes.
    FollowLog(Pending<apps::FollowLog>, String, usize),
    /// Its log as a file.
    Export(Pending<apps::ExportLog>, String),
    /// The newest events.
    Audit(Pending<audit::List>),
    /// The same, and then what comes.
    FollowAudit(Pending<audit::Follow>),
    /// Grants, page by page.
    Grants(Pending<bus_interface::List>, Vec<desk::GrantLine>),
    /// May it?
    Why(Pending<bus_interface::Why>),
    /// Whether calls may be watched.
    Monitor(Pending<bus_interface::Monitor>),
    /// The device.
    Device(Pending<device::GetInfo>),
    /// Starting again.
    Reboot(Pending<power::Reboot>),
    /// Switching off.
    PowerOff(Pending<power::PowerOff>),
    /// The crashes of every app, one after the other.
    Crashes(CrashesFor, Gathering),
    /// A package is going to be sent.
    Begin(Pending<developer::Begin>),
    /// A part of it.
    Put(Pending<developer::Put>),
    /// It is being installed.
    Install(Pending<developer::Install>),
    /// Releases are being handed over.
    Carry(Pending<developer::Carry>),
    /// A developer's app is being removed.
    Remove(Pending<developer::Remove>, String),
    /// All of them are.
    Leave(Pending<developer::Leave>),
    /// An app is being started under a debugger's server.
    Debug(Pending<developer::Debug>, String, String),
    /// Developers' apps, page by page.
    Developed(Pending<developer::List>, Vec<desk::Developed>),
    /// What apps use, page by page.
    Usage(Pending<developer::Stats>, Vec<desk::Usage>),
    /// What one uses.
    UsageOf(Pending<developer::Stats>, String),
    /// Nobody: what is followed has been said.
    Followed,
}

/// Who wants to know of crashes.
#[derive(Debug)]
pub(crate) enum CrashesFor {
    /// A list, with sums.
    List(Pending<crashes::List>),
    /// So many of the newest, and then what comes.
    Follow(Pending<crashes::Follow>, usize),
}

/// The crashes of the apps that were asked for so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// Apps still to be asked for.
    pub(crate) left: Vec<(String, bool)>,
    /// The one that is being asked for, and whether it is the system's.
    pub(crate) current: Option<(String, bool)>,
    /// What was found: app, whether it is the system's, its crashes, oldest first.
    pub(crate) found: Vec<(String, bool, Vec<Exit>)>,
}

impl Waiting {
    /// Which call waits.
    pub(crate) fn call(&self) -> Option<CallId> {
        Some(match self {
            Self::Apps(p, _) => p.id(),
            Self::Status(p, _) => p.id(),
            Self::Start(p, _) => p.id(),
            Self::Stop(p, _) => p.id(),
            Self::Restart(p, _) => p.id(),
            Self::Wipe(p, _) => p.id(),
            Self::Log(p, ..) => p.id(),
            Self::FollowLog(p, ..) => p.id(),
            Self::Export(p, _) => p.id(),
            Self::Audit(p) => p.id(),
            Self::FollowAudit(p) => p.id(),
            Self::Grants(p, _) => p.id(),
            Self::Why(p) => p.id(),
            Self::Monitor(p) => p.id(),
            Self::Device(p) => p.id(),
            Self::Reboot(p) => p.id(),
            Self::PowerOff(p) => p.id(),
            Self::Crashes(CrashesFor::List(p), _) => p.id(),
            Self::Crashes(CrashesFor::Follow(p, _), _) => p.id(),
            Self::Begin(p) => p.id(),
            Self::Put(p) => p.id(),
            Self::Install(p) => p.id(),
            Self::Carry(p) => p.id(),
            Self::Remove(p, _) => p.id(),
            Self::Leave(p) => p.id(),
            Self::Debug(p, ..) => p.id(),
            Self::Developed(p, _) => p.id(),
            Self::Usage(p, _) => p.id(),
            Self::UsageOf(p, _) => p.id(),
            Self::Followed => return None,
        })
    }
}
