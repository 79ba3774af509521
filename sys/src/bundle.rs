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
//! | 8… | those that `init` only keeps, and gives back in `Kept`: log pipes, notify socket, network, sockets of the bus |
//!
//! Trust: `sandboxd` is trusted to choose what a box may do, not to be free of bugs: everything is length-checked.
//! Strings in `argv` and `env` were chosen by an app's author; `init` passes them on and never looks inside.

use crate::codec::{Reader, Writer};

/// Largest message, bytes. The kernel's default `wmem` holds several.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// Descriptors that make a box; see the table above.
pub const BOX_FDS: usize = 8;
/// Descriptors that `init` keeps for the builder: two log pipes, notify socket, network, the bus router's control
/// socket, and a listening socket for each of 32 interfaces used and 32 provided.
pub const KEPT_FDS_MAX: usize = 5 + 64;

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
    /// Lift W^X (`jit = true` in the manifest).
    pub allow_wx: bool,
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
    /// The message, without its descriptors.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Request::Hello => w.u8(0),
            Request::Put(spec) => {
                w.u8(1);
                spec.encode(&mut w);
            }
            Request::Start(id) => tagged(&mut w, 2, *id),
            Request::Stop(id) => tagged(&mut w, 3, *id),
            Request::Kill(id) => tagged(&mut w, 4, *id),
            Request::Remove(id) => tagged(&mut w, 5, *id),
            Request::Power(p) => {
                w.u8(6);
                w.u8(*p as u8);
            }
        }
        w.0
    }

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
            Event::Kept { id, pid, starts } => {
                tagged(&mut w, 0, id);
                w.u32(pid);
                w.u32(starts);
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

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Event> {
        let mut r = Reader(bytes);
        let event = match r.u8()? {
            0 => Event::Kept { id: r.u32()?, pid: r.u32()?, starts: r.u32()? },
            1 => Event::KeptEnd { safe_mode: r.u8()? != 0 },
            2 => Event::Started { id: r.u32()?, pid: r.u32()?, starts: r.u32()? },
            3 => Event::Refused { id: r.u32()?, step: r.u8()?, errno: r.i32()?, next: Next::decode(&mut r)? },
            4 => Event::Exited {
                id: r.u32()?,
                pid: r.u32()?,
                code: r.i32()?,
                status: r.i32()?,
                uptime_ms: r.u64()?,
                next: Next::decode(&mut r)?,
            },
            5 => Event::Failed { id: r.u32()?, errno: r.i32()? },
            _ => return None,
        };
        r.end()?;
        Some(event)
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

    fn decode(r: &mut Reader<'_>) -> Option<Next> {
        match (r.u8()?, r.u32()?) {
            (0, _) => Some(Next::Stopped),
            (1, ms) => Some(Next::Restart(ms)),
            (2, ms) => Some(Next::Backoff(ms)),
            _ => None,
        }
    }
}

impl BoxSpec {
    fn encode(&self, w: &mut Writer) {
        w.u32(self.id);
        w.u64(self.capabilities);
        w.u8(u8::from(self.host_pids));
        w.u8(u8::from(self.allow_wx));
        w.u64(self.tmp_bytes);
        w.u32(self.open_files);
        w.u8(self.restart as u8);
        w.u32(self.stop_timeout_ms);
        w.bytes(self.hostname.as_bytes());
        w.bytes(self.directory.as_bytes());
        for list in [&self.argv, &self.env] {
            w.u32(u32::try_from(list.len()).unwrap_or(u32::MAX));
            list.iter().for_each(|s| w.bytes(s.as_bytes()));
        }
    }

    fn decode(r: &mut Reader<'_>) -> Option<BoxSpec> {
        let spec = BoxSpec {
            id: r.u32()?,
            capabilities: r.u64()?,
            host_pids: r.u8()? != 0,
            allow_wx: r.u8()? != 0,
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
        };
        // A box as root, or an app with the system's means, is never what anybody asked for: refuse it here, whatever
        // the builder says.
        let modest = spec.id < FIRST_APP || spec.capabilities == 0 && !spec.host_pids;
        (spec.id != 0 && modest && !spec.argv.is_empty() && spec.hostname.len() <= 64).then_some(spec)
    }
}

fn tagged(w: &mut Writer, tag: u8, id: BoxId) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> BoxSpec {
        BoxSpec {
            id: 10_001,
            capabilities: 0,
            host_pids: false,
            allow_wx: false,
            tmp_bytes: 4096,
            open_files: 64,
            restart: Restart::Always,
            stop_timeout_ms: 5000,
            hostname: "box".into(),
            directory: "/".into(),
            argv: vec!["/bin/true".into()],
            env: vec!["A=b".into()],
        }
    }

    #[test]
    fn request_encoded_decodes_to_itself() {
        let all = [
            Request::Hello,
            Request::Put(spec()),
            Request::Start(1),
            Request::Stop(2),
            Request::Kill(3),
            Request::Remove(4),
            Request::Power(Power::Reboot),
        ];
        for request in all {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    #[test]
    fn event_encoded_decodes_to_itself() {
        let all = [
            Event::Kept { id: 1, pid: 2, starts: 3 },
            Event::KeptEnd { safe_mode: true },
            Event::Started { id: 1, pid: 2, starts: 3 },
            Event::Refused { id: 1, step: 4, errno: 5, next: Next::Backoff(6) },
            Event::Exited { id: 1, pid: 2, code: 3, status: 4, uptime_ms: 5, next: Next::Restart(6) },
            Event::Failed { id: 1, errno: 2 },
        ];
        for event in all {
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
    }

    #[test]
    fn request_cut_short_or_longer_is_refused() {
        let whole = Request::Put(spec()).encode();
        for n in 0..whole.len() {
            assert_eq!(Request::decode(&whole[..n]), None);
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(Request::decode(&longer), None);
    }

    #[test]
    fn put_for_uid_0_is_refused() {
        assert_eq!(Request::decode(&Request::Put(BoxSpec { id: 0, ..spec() }).encode()), None);
    }

    #[test]
    fn put_for_an_app_with_the_systems_means_is_refused() {
        let of = |id, capabilities, host_pids| BoxSpec { id, capabilities, host_pids, ..spec() };
        for (bad, good) in
            [(of(FIRST_APP, 1, false), of(FIRST_APP - 1, 1, false)), (of(FIRST_APP, 0, true), of(1, 0, true))]
        {
            assert_eq!(Request::decode(&Request::Put(bad).encode()), None);
            assert!(Request::decode(&Request::Put(good).encode()).is_some());
        }
    }

    #[test]
    fn put_with_nul_in_argument_is_refused() {
        let bad = BoxSpec { argv: vec!["/bin/a\0b".into()], ..spec() };
        assert_eq!(Request::decode(&Request::Put(bad).encode()), None);
    }
}
