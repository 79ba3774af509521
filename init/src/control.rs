//! The conversation with `sandboxd`: one request at a time in, events out. Never waits for it.
//!
//! Events that do not fit into the socket are dropped and the socket is closed: `sandboxd` then starts again and
//! asks for everything that is kept, ends that were not recorded among it. What a slow `sandboxd` can make PID 1 hold
//! is thus one socket buffer. Before its `Hello` it is told nothing: the answer says it all, once.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use sys::bundle::{BoxSpec, Event, FIRST_APP, Power, Request};
use sys::channel;
use sys::launch::Prepared;

use crate::boxes::Boxes;
use crate::poller::Poller;
use crate::report::say;

/// PID 1's end of the socket.
pub(crate) struct Control {
    pub(crate) socket: OwnedFd,
    greeted: bool,
}

/// What PID 1 is doing while it serves a request.
#[derive(Clone, Copy)]
pub(crate) struct Mode {
    /// The time.
    pub(crate) now_ms: u64,
    /// The system failed repeatedly: no app is launched.
    pub(crate) safe: bool,
    /// The device is shutting down: nothing new is launched.
    pub(crate) ending: bool,
}

/// What the caller has to do after one message.
pub(crate) enum Outcome {
    /// Nothing.
    Done,
    /// No message waits.
    Empty,
    /// `sandboxd` closed its end or sent nonsense: drop the socket.
    Closed,
    /// Shut down.
    Power(Power),
}

impl Control {
    /// On this socket, before `Hello`.
    pub(crate) fn new(socket: OwnedFd) -> Control {
        Control { socket, greeted: false }
    }

    /// Sends an event, once there was a `Hello`. False when the socket is of no use any more.
    pub(crate) fn tell(&self, event: &Event) -> bool {
        !self.greeted || self.send(event, &[])
    }

    fn send(&self, event: &Event, fds: &[OwnedFd]) -> bool {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        match channel::send(&self.socket, &event.encode(), &raw) {
            Ok(()) => true,
            Err(e) => {
                say!("event to sandboxd lost: {e}");
                false
            }
        }
    }

    /// Takes and does one request.
    pub(crate) fn serve(&mut self, boxes: &mut Boxes, poller: &Poller, mode: Mode) -> Outcome {
        let (message, fds) = match channel::receive(&self.socket) {
            Ok(Some(received)) => received,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Outcome::Empty,
            Ok(None) => return Outcome::Closed,
            Err(e) => {
                say!("bad message from sandboxd: {e}");
                return Outcome::Closed;
            }
        };
        let Some(request) = Request::decode(&message) else {
            say!("sandboxd sent what is not a request");
            return Outcome::Closed;
        };
        let (id, done) = match request {
            Request::Hello => return self.hello(boxes, mode.safe),
            Request::Power(power) => return Outcome::Power(power),
            // A box started after the others were stopped would never be.
            Request::Put(BoxSpec { id, .. }) | Request::Start(id)
                if mode.ending || mode.safe && id >= FIRST_APP =>
            {
                (id, Err(libc::ESHUTDOWN))
            }
            Request::Put(spec) => (spec.id, put(boxes, spec, fds)),
            Request::Start(id) => (id, boxes.start(id, poller, mode.now_ms)),
            Request::Stop(id) => (id, boxes.stop(id, mode.now_ms).map(|()| None)),
            Request::Kill(id) => (id, boxes.kill(id).map(|()| None)),
            Request::Remove(id) => (id, boxes.remove(id).map(|()| None)),
            Request::Heard(id, count) => (id, boxes.heard(id, count).map(|()| None)),
        };
        let event = match done {
            Ok(event) => event,
            Err(errno) => Some(Event::Failed { id, errno }),
        };
        let told = event.is_none_or(|event| self.tell(&event));
        if told { Outcome::Done } else { Outcome::Closed }
    }

    fn hello(&mut self, boxes: &Boxes, safe_mode: bool) -> Outcome {
        self.greeted = true;
        let all = boxes.kept().all(|(event, fds)| self.send(&event, fds));
        if all && self.send(&Event::KeptEnd { safe_mode }, &[]) { Outcome::Done } else { Outcome::Closed }
    }
}

fn put(boxes: &mut Boxes, spec: BoxSpec, fds: channel::Descriptors) -> Result<Option<Event>, i32> {
    let prepared = fds.and_then(|fds| Prepared::new(spec, fds)).map_err(|e| {
        say!("bundle refused: {e}");
        e.raw_os_error().unwrap_or(libc::EINVAL)
    })?;
    boxes.put(prepared).map(|()| None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::BOXES_MAX;
    use std::fs::File;
    use sys::bundle::{BOX_FDS, ENDS_MAX, KEPT_FDS_MAX, Restart};

    fn spec() -> BoxSpec {
        BoxSpec {
            id: FIRST_APP,
            capabilities: 0,
            host_pids: false,
            wider: 0,
            tmp_bytes: 0,
            open_files: 64,
            restart: Restart::Never,
            stop_timeout_ms: 0,
            hostname: "box".into(),
            directory: "/".into(),
            argv: vec!["/bin/true".into()],
            env: vec![],
        }
    }

    #[test]
    fn put_with_descriptors_cut_is_refused_and_the_conversation_goes_on() {
        let (ours, theirs) = channel::pair().unwrap();
        let (mut control, mut boxes, poller) = (Control::new(ours), Boxes::default(), Poller::new().unwrap());
        let mode = Mode { now_ms: 0, safe: false, ending: false };
        let null = File::open("/dev/null").unwrap();
        let more_than_there_is_room_for = [null.as_raw_fd(); BOX_FDS + KEPT_FDS_MAX + 1];
        channel::send(&theirs, &Request::Hello.encode(), &[]).unwrap();
        channel::send(&theirs, &Request::Put(spec()).encode(), &more_than_there_is_room_for).unwrap();
        channel::send(&theirs, &Request::Hello.encode(), &[]).unwrap();
        let end = || Event::KeptEnd { safe_mode: false };
        for expected in [end(), Event::Failed { id: FIRST_APP, errno: libc::EMFILE }, end()] {
            assert!(matches!(control.serve(&mut boxes, &poller, mode), Outcome::Done));
            let (message, _) = channel::receive(&theirs).unwrap().unwrap();
            assert_eq!(Event::decode(&message), Some(expected));
        }
    }

    #[test]
    fn start_in_safe_mode_is_refused_for_apps_alone() {
        let (ours, theirs) = channel::pair().unwrap();
        let (mut control, mut boxes, poller) = (Control::new(ours), Boxes::default(), Poller::new().unwrap());
        control.greeted = true;
        let mode = Mode { now_ms: 0, safe: true, ending: false };
        for (id, errno) in [(FIRST_APP, libc::ESHUTDOWN), (FIRST_APP - 1, libc::ENOENT)] {
            channel::send(&theirs, &Request::Start(id).encode(), &[]).unwrap();
            assert!(matches!(control.serve(&mut boxes, &poller, mode), Outcome::Done));
            let (message, _) = channel::receive(&theirs).unwrap().unwrap();
            assert_eq!(Event::decode(&message), Some(Event::Failed { id, errno }));
        }
    }

    /// All that can ever be kept must fit into the socket at once: `sandboxd` reads only when PID 1 has sent it all.
    #[test]
    fn hello_with_every_box_kept_and_unheard_is_answered_at_once() {
        let (ours, theirs) = channel::pair().unwrap();
        let control = Control::new(ours);
        let next = sys::bundle::Next::Backoff(60_000);
        let end = Event::Exited { id: FIRST_APP, pid: 1, code: 1, status: 1, uptime_ms: 1, next };
        let ends = vec![(1, end); ENDS_MAX];
        let null: [OwnedFd; 3] = std::array::from_fn(|_| File::open("/dev/null").unwrap().into());
        for id in 1..=BOXES_MAX as u32 {
            let kept = Event::Kept { id, pid: 1, starts: 1, ends: ends.clone(), more: 1 };
            assert!(control.send(&kept, &null), "only {id} boxes fit");
        }
        assert!(control.send(&Event::KeptEnd { safe_mode: false }, &[]));
        for _ in 0..=BOXES_MAX {
            let (message, _) = channel::receive(&theirs).unwrap().unwrap();
            assert!(Event::decode(&message).is_some());
        }
    }

    #[test]
    fn event_before_hello_is_not_told() {
        let (ours, theirs) = channel::pair().unwrap();
        let mut control = Control::new(ours);
        assert!(control.tell(&Event::Failed { id: 1, errno: 1 }));
        control.greeted = true;
        assert!(control.tell(&Event::Failed { id: 2, errno: 2 }));
        let (message, _) = channel::receive(&theirs).unwrap().unwrap();
        assert_eq!(Event::decode(&message), Some(Event::Failed { id: 2, errno: 2 }));
    }
}
