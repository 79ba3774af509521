//! The bundle: everything that shapes a box, and the messages that carry it between `sandboxd` and `init`.
//!
//! One `SOCK_SEQPACKET` message per request or event. `Put` and `Kept` carry descriptors:
//!
//! | position in `Put` | descriptor |
//! |---|---|
//! | 0 | cgroup directory |
//! | 1 | network namespace |
//! | 2 | mount namespace, whose root already is the box's root |
//! | 3 | Landlock ruleset |
//! | 4 | seccomp programs, sealed memfd (`u32` count ≤ 4, `u32` length of each, then the instructions) |
//! | 5, 6, 7 | stdin, stdout, stderr |
//! | 8… | those that `init` only keeps, and gives back in `Kept`: log pipes, notify socket, control socket, sockets of the bus |
//!
//! Here is PID 1's half: reading requests, writing events. The other half is `manager`, which PID 1 is built without.
//!
//! Trust: `sandboxd` is trusted to choose what a box may do, not to be free of bugs: everything is length-checked.
//! Strings in `argv` and `env` were chosen by an app's author; `init` passes them on and never looks inside.

use crate::codec::{Reader, Writer};

/// Largest message, bytes. The kernel's default `wmem` holds several.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// Descriptors that make a box; see the table above.
pub const BOX_FDS: usize = 8;
/// Descriptors that `init` keeps for the builder: log pipes, notify, control, and one for each of 32 + 32 interfaces.
pub const KEPT_FDS_MAX: usize = 4 + 64;
/// Ends of a box that wait in `init` to be recorded, at most: no minute of back-off has more. Later ones are counted.
pub const ENDS_MAX: usize = 16;

/// A box's number: its uid. `init` knows boxes by nothing else.
pub type BoxId = u32;
/// Numbers from here up are apps', those below the system's own: they run in safe mode too, and only they may hold
/// capabilities or see the device's pids. Part of `/data`'s format: a lower one would give an app's data to the system.
pub const FIRST_APP: BoxId = 10_000;

/// When a box that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Restart {
    /// Never.
    Never = 0,
    /// When it ended by a signal or a code other than 0.
    OnFailure = 1,
    /// Whenever it ended without having been asked to.
    Always = 2,
}

/// What `init` needs to know to launch a box, besides its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxSpec {
    /// The box's number; also its uid and gid.
    pub id: BoxId,
    /// Capabilities left to the box (bit per capability number). 0 for every app.
    pub capabilities: u64,
    /// Share the device's pid namespace. False for every app.
    pub host_pids: bool,
    /// Bit 0 lifts W^X (`jit = true` in the manifest), bit 1 lets its `/proc` be written, for a debugger's server.
    pub wider: u8,
    /// Size of `/tmp` in bytes; 0 mounts it with the smallest size.
    pub tmp_bytes: u64,
    /// `RLIMIT_NOFILE`.
    pub open_files: u32,
    /// Restart policy.
    pub restart: Restart,
    /// Milliseconds between SIGTERM and SIGKILL.
    pub stop_timeout_ms: u32,
    /// Host name inside the box, ≤ 64 bytes.
    pub hostname: String,
    /// Working directory, absolute inside the box.
    pub directory: String,
    /// Program (absolute inside the box) and arguments.
    pub argv: Vec<String>,
    /// `KEY=value` strings.
    pub env: Vec<String>,
    #[cfg(feature = "weak")]
    /// Layers that it lacks.
    pub missing: crate::weak::Missing,
}

/// How to end the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Power {
    /// Switch off.
    Off = 0,
    /// Start again.
    Reboot = 1,
}

/// What `sandboxd` asks of `init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// First message on a connection: asks for `Kept` per box, then `KeptEnd`.
    Hello,
    /// Keep this bundle (replaces one that is not running). Carries descriptors.
    Put(BoxSpec),
    /// Launch a kept box.
    Start(BoxId),
    /// SIGTERM, then SIGKILL after its stop time. No restart.
    Stop(BoxId),
    /// SIGKILL to the whole box; its restart policy applies (a watchdog ran out).
    Kill(BoxId),
    /// Forget a bundle that is not running.
    Remove(BoxId),
    /// So many of the box's ends, the oldest, are recorded for good: do not tell them again.
    Heard(BoxId, u32),
    /// Orderly shutdown.
    Power(Power),
}

/// What follows an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Stays down.
    Stopped,
    /// Started again after so many milliseconds.
    Restart(u32),
    /// It crashed in quick succession: started again after so many milliseconds.
    Backoff(u32),
}

/// What `init` tells `sandboxd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A bundle that `init` holds, with its kept descriptors. `pid` is 0 when it is not running.
    Kept {
        /// The box.
        id: BoxId,
        /// Process id as `init` sees it, or 0.
        pid: u32,
        /// Launches so far.
        starts: u32,
        /// `Exited` and `Refused` that nobody has recorded, oldest first, each with its `CLOCK_MONOTONIC` time in
        /// milliseconds.
        ends: Vec<(u64, Event)>,
        /// Ends after those, of which nothing but the number is left.
        more: u32,
    },
    /// All kept bundles were named.
    KeptEnd {
        /// The system failed repeatedly: start no app.
        safe_mode: bool,
    },
    /// `execve` succeeded.
    Started {
        /// The box.
        id: BoxId,
        /// Process id as `init` sees it.
        pid: u32,
        /// Launches so far.
        starts: u32,
    },
    /// The launch was refused at a step; the program never ran.
    Refused {
        /// The box.
        id: BoxId,
        /// Number of the [`crate::step::Step`].
        step: u8,
        /// Why.
        errno: i32,
        /// What follows.
        next: Next,
    },
    /// The box's first process ended.
    Exited {
        /// The box.
        id: BoxId,
        /// Its process id.
        pid: u32,
        /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`.
        code: i32,
        /// Exit code or signal.
        status: i32,
        /// Milliseconds from launch to end.
        uptime_ms: u64,
        /// What follows.
        next: Next,
    },
    /// A request could not be done.
    Failed {
        /// The box.
        id: BoxId,
        /// Why.
        errno: i32,
    },
}

impl Request {
    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Request> {
        let mut r = Reader(bytes);
        let request = match r.u8()? {
            0 => Request::Hello,
            1 => Request::Put(BoxSpec::decode(&mut r)?),
            2 => Request::Start(r.u32()?),
            3 => Request::Stop(r.u32()?),
            4 => Request::Kill(r.u32()?),
            5 => Request::Remove(r.u32()?),
            6 => Request::Power(if r.u8()? == 0 { Power::Off } else { Power::Reboot }),
            7 => Request::Heard(r.u32()?, r.u32()?),
            _ => return None,
        };
        r.end()?;
        Some(request)
    }
}

impl Event {
    /// The message, without its descriptors.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match *self {
            Event::Kept { id, pid, starts, ref ends, more } => {
                tagged(&mut w, 0, id);
                [pid, starts, more, ends.len() as u32].into_iter().for_each(|n| w.u32(n));
                for (at_ms, end) in ends {
                    w.u64(*at_ms);
                    w.bytes(&end.encode());
                }
            }
            Event::KeptEnd { safe_mode } => {
                w.u8(1);
                w.u8(u8::from(safe_mode));
            }
            Event::Started { id, pid, starts } => {
                tagged(&mut w, 2, id);
                w.u32(pid);
                w.u32(starts);
            }
            Event::Refused { id, step, errno, next } => {
                tagged(&mut w, 3, id);
                w.u8(step);
                w.i32(errno);
                next.encode(&mut w);
            }
            Event::Exited { id, pid, code, status, uptime_ms, next } => {
                tagged(&mut w, 4, id);
                w.u32(pid);
                w.i32(code);
                w.i32(status);
                w.u64(uptime_ms);
                next.encode(&mut w);
            }
            Event::Failed { id, errno } => {
                tagged(&mut w, 5, id);
                w.i32(errno);
            }
        }
        w.0
    }
}

impl Next {
    fn encode(self, w: &mut Writer) {
        let (tag, ms) = match self {
            Next::Stopped => (0, 0),
            Next::Restart(ms) => (1, ms),
            Next::Backoff(ms) => (2, ms),
        };
        w.u8(tag);
        w.u32(ms);
    }
}

impl BoxSpec {
    fn decode(r: &mut Reader<'_>) -> Option<BoxSpec> {
        let spec = BoxSpec {
            id: r.u32()?,
            capabilities: r.u64()?,
            host_pids: r.u8()? != 0,
            wider: r.u8().filter(|bits| *bits < 4)?,
            tmp_bytes: r.u64()?,
            open_files: r.u32()?,
            restart: match r.u8()? {
                0 => Restart::Never,
                1 => Restart::OnFailure,
                2 => Restart::Always,
                _ => return None,
            },
            stop_timeout_ms: r.u32()?,
            hostname: text(r)?,
            directory: text(r)?,
            argv: list(r)?,
            env: list(r)?,
            #[cfg(feature = "weak")]
            missing: crate::weak::Missing(r.u32()?),
        };
        // A box as root, or an app with the system's means, is refused here, whatever the builder says.
        let modest = spec.id < FIRST_APP || spec.capabilities == 0 && !spec.host_pids;
        (spec.id != 0 && modest && !spec.argv.is_empty() && spec.hostname.len() <= 64).then_some(spec)
    }
}

pub(crate) fn tagged(w: &mut Writer, tag: u8, id: BoxId) {
    w.u8(tag);
    w.u32(id);
}

fn text(r: &mut Reader<'_>) -> Option<String> {
    let bytes = r.bytes()?;
    (!bytes.contains(&0)).then(|| String::from_utf8(bytes.to_vec()).ok())?
}

fn list(r: &mut Reader<'_>) -> Option<Vec<String>> {
    let n = r.u32()?;
    (0..n).map(|_| text(r)).collect()
}
