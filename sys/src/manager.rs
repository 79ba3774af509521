//! The manager's half of the messages with `init`: writing requests, reading events. Types and layout: [`crate::bundle`].

use crate::bundle::{BoxSpec, Event, Next, Request, tagged};
use crate::codec::{Reader, Writer};

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
            Request::Heard(id, count) => {
                tagged(&mut w, 7, *id);
                w.u32(*count);
            }
        }
        w.0
    }
}

impl Event {
    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Event> {
        let mut r = Reader(bytes);
        let event = match r.u8()? {
            0 => {
                let (id, pid, starts, more) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
                let count = r.u32()?;
                let ends =
                    (0..count).map(|_| Some((r.u64()?, Event::end(r.bytes()?)?))).collect::<Option<_>>();
                Event::Kept { id, pid, starts, ends: ends?, more }
            }
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

    /// Reads an end. Nothing else, so that events do not nest.
    fn end(bytes: &[u8]) -> Option<Event> {
        bytes.first().filter(|tag| matches!(tag, 3 | 4)).and_then(|_| Event::decode(bytes))
    }
}

impl Next {
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
        w.u8(self.wider);
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
        #[cfg(feature = "weak")]
        w.u32(self.missing.0);
    }
}

#[cfg(test)]
mod tests {
    use crate::bundle::{BoxSpec, Event, FIRST_APP, Next, Power, Request, Restart};

    fn spec() -> BoxSpec {
        BoxSpec {
            id: 10_001,
            capabilities: 0,
            host_pids: false,
            wider: 0,
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
            Request::Heard(5, 6),
        ];
        for request in all {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    #[test]
    fn event_encoded_decodes_to_itself() {
        let refused = Event::Refused { id: 1, step: 4, errno: 5, next: Next::Backoff(6) };
        let all = [
            Event::Kept { id: 1, pid: 2, starts: 3, ends: vec![], more: 0 },
            Event::Kept {
                id: 1,
                pid: 2,
                starts: 3,
                ends: vec![(5, refused.clone()), (6, refused.clone())],
                more: 4,
            },
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
    fn kept_with_anything_but_ends_in_it_is_refused() {
        let kept = |end| Event::Kept { id: 1, pid: 2, starts: 3, ends: vec![(0, end)], more: 0 };
        assert_eq!(Event::decode(&kept(Event::KeptEnd { safe_mode: true }).encode()), None);
        assert_eq!(Event::decode(&kept(kept(Event::Failed { id: 1, errno: 1 })).encode()), None);
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
