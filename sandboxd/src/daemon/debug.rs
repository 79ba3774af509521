//! An app that a developer debugs: it runs as the child of a debugger's server, in its own box.
//!
//! ```text
//! Coming    what runs of the app ends; its box is built again from the same plan and image, with the server's package on
//!           a mount of its own, with a filter that lets it trace, and with a socket as standard input and output
//! Running   appsd has the socket's other end
//! over      the box has ended, or nobody has the other end any more: it is built again as it was
//! ```
//!
//! What holds: nothing of it is written down, so a boot, or a sandboxd that comes after us, has the app as it was
//! ([`DEBUGGED`]). One app is debugged at a time. A kernel that lets nobody trace refuses, as a production image's does: that
//! setting can not be lowered while it runs.
//!
//! What an attacker who has a developer's way in controls: the server, its command, and what is said to it. It runs with the
//! app's uid, Landlock rules and network, within memory and tasks that are bounded; so it can do what the app can, and besides
//! trace what is in that box. Only what was installed by a developer is debugged: nobody's data is read by it but what such an app
//! has stored itself.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use bus::desk::{self, Answer};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use policy::Plan;

use super::Daemon;
use super::developer::Trust;
use crate::app::State;
use crate::builder;
use crate::console::say;
use crate::poller::Ready;
use crate::storage;

/// The package that a bundle of a debugged app is said to be made of: there is none of this number, so whoever finds the bundle
/// has another built.
pub(super) const DEBUGGED: u64 = u64::MAX;
/// Where the kernel says who may trace whom.
const TRACING: &str = "/proc/sys/kernel/yama/ptrace_scope";
/// Up to this a process may trace what it has started (`Documentation/admin-guide/LSM/Yama.rst`).
const TRACING_CHILDREN: u32 = 1;
/// Words of a server's command, and the bytes of each.
const WORDS_MAX: usize = 32;
const WORD_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Debug(Option<Session>);

#[derive(Debug)]
struct Session {
    uid: u32,
    app: String,
    server: String,
    /// The root directory of the server's package.
    root: PathBuf,
    command: Vec<String>,
    /// The end that the server has.
    line: OwnedFd,
    /// Who is to have the other end, until the app runs.
    asked: Option<(u32, OwnedFd)>,
    /// A box of this session was built.
    built: bool,
}

impl Debug {
    /// Whether this box is debugged, or about to be.
    pub(super) fn is_of(&self, uid: u32) -> bool {
        self.0.as_ref().is_some_and(|session| session.uid == uid)
    }

    /// What this box has besides, if it is debugged.
    pub(super) fn of(&self, uid: u32) -> Option<builder::Debug<'_>> {
        let session = self.0.as_ref().filter(|session| session.uid == uid)?;
        Some(builder::Debug { server: &session.root, line: session.line.as_fd() })
    }
}

impl Daemon {
    /// An app is to be started again under a debugger's server. `None`: it is answered later.
    pub(super) fn debug_begin(&mut self, question: u32, asked: desk::Debug) -> io::Result<Option<Answer>> {
        let session = match self.debug_session(question, asked) {
            Ok(session) => session,
            Err(answer) => return Ok(Some(answer)),
        };
        let uid = session.uid;
        say(format_args!("event debugging id={} server={}", session.app, session.server));
        self.debug.0 = Some(session);
        self.packages_again(uid)?;
        Ok(None)
    }

    fn debug_session(&self, question: u32, asked: desk::Debug) -> Result<Session, Answer> {
        let desk::Debug { app, server, command } = asked;
        let refused = |why: &str| Answer::Refused(why.to_owned());
        if let Trust::Nobody(why) = self.developer_trust() {
            return Err(refused(why));
        }
        if !may_trace() {
            return Err(refused(
                "this device's kernel lets nobody trace a process (kernel.yama.ptrace_scope), and that can not be changed while it \
                 runs: debug on a device with a developer's image",
            ));
        }
        let found = self.apps.values().find(|known| known.id == app).ok_or(Answer::NoApp)?;
        let uid = found.uid;
        if found.system {
            return Err(Answer::SystemApp);
        }
        if !self.is_developed(&app) {
            return Err(refused("only an app that was deployed here is debugged: `gabion deploy` it first"));
        }
        if found.state == State::Problem {
            return Err(Answer::Refused(found.problem.clone().unwrap_or_default()));
        }
        let root = self.uid_of(&server).filter(|_| self.is_developed(&server));
        root.ok_or(Answer::NoServer)?;
        if self.debug.0.is_some() {
            return Err(refused("another app is being debugged on this device"));
        }
        let busy = found.state == State::Reading || self.packages_hold(uid) || self.wiping.is_under_way(uid);
        if busy || self.desk_stops(uid) || self.installs.is_busy() || self.developer.is_busy() {
            return Err(Answer::Busy);
        }
        let root = self.image_place(&server, self.package_number(&server));
        if server == app || !storage::is_mounted(&root) {
            return Err(refused("the package with the debugger's server can not be used: deploy it again"));
        }
        if command.len() > WORDS_MAX
            || command.iter().any(|word| word.len() > WORD_MAX || word.contains('\0'))
        {
            return Err(refused("the command of the debugger's server is too long"));
        }
        if !command.first().is_some_and(|program| program.starts_with('/')) {
            return Err(refused("the command of the debugger's server has to begin with an absolute path"));
        }
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
        let (ours, line) = pair.map_err(|e| Answer::Refused(e.to_string()))?;
        Ok(Session { uid, app, server, root, command, line, asked: Some((question, ours)), built: false })
    }

    /// The plan by which this box is built, where it is debugged.
    pub(super) fn debug_plan(&mut self, uid: u32, plan: &Plan) -> Option<Plan> {
        let session = self.debug.0.as_mut().filter(|session| session.uid == uid)?;
        session.built = true;
        Some(plan.debugged(session.command.clone()))
    }

    /// A box was launched.
    pub(super) fn debug_started(&mut self, uid: u32) {
        let Some(session) = self.debug.0.as_mut().filter(|session| session.uid == uid && session.built)
        else {
            return;
        };
        let Some((question, ours)) = session.asked.take() else { return };
        // Who has the other end ends this by closing it, or by ending itself.
        if let Err(e) = self.poller.watch_end(&session.line, Ready::Debugger) {
            say(format_args!("can not watch a debugger id={} {e}", session.app));
        }
        self.desk_answer_with(question, Answer::Done, ours);
    }

    /// It could not be launched.
    pub(super) fn debug_refused(&mut self, uid: u32, why: &str) {
        if self.debug.0.as_ref().is_some_and(|session| session.uid == uid && session.built) {
            self.debug_fails(uid, why);
        }
    }

    /// It could not even be built.
    pub(super) fn debug_fails(&mut self, uid: u32, why: &str) {
        let Some(session) = self.debug.0.take_if(|session| session.uid == uid) else { return };
        // What it was before may go well still.
        if session.built
            && let Err(e) = self.packages_again(uid)
        {
            say(format_args!("can not have a box built again id={} {e}", session.app));
        }
        self.debug_close(session, why);
    }

    /// A box has ended; if it was debugged, that is over.
    pub(super) fn debug_ended(&mut self, uid: u32) -> io::Result<()> {
        match self.debug.0.take_if(|session| session.uid == uid && session.built) {
            Some(session) => self.debug_end(session),
            None => Ok(()),
        }
    }

    /// Nobody has the other end any more.
    pub(super) fn debug_over(&mut self) -> io::Result<()> {
        match self.debug.0.take() {
            Some(session) => self.debug_end(session),
            None => Ok(()),
        }
    }

    /// This package goes: nothing is debugged by what is in it.
    pub(super) fn debug_without(&mut self, id: &str) -> io::Result<()> {
        match self.debug.0.take_if(|session| session.server == id || session.app == id) {
            Some(session) => self.debug_end(session),
            None => Ok(()),
        }
    }

    fn debug_end(&mut self, session: Session) -> io::Result<()> {
        let uid = session.uid;
        say(format_args!("event debugged id={}", session.app));
        self.debug_close(session, "the app was ended meanwhile");
        // What comes in its place anyway need not be built twice.
        if self.packages_hold(uid) { Ok(()) } else { self.packages_again(uid) }
    }

    fn debug_close(&mut self, session: Session, why: &str) {
        self.poller.forget(&session.line);
        // The bundle that goes has its other descriptor for a while: whoever follows hears of the end at once.
        let _ended = shutdown(session.line.as_raw_fd(), Shutdown::Both);
        if let Some((question, _)) = session.asked {
            self.desk_answer(question, Answer::Refused(why.to_owned()));
        }
    }
}

/// Whether the kernel lets a process trace its children.
fn may_trace() -> bool {
    let scope = fs::read_to_string(TRACING).ok().and_then(|scope| scope.trim().parse::<u32>().ok());
    scope.is_some_and(|scope| scope <= TRACING_CHILDREN)
}
