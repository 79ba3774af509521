//! Reading manifests in a box: the queue of what is to be read, and the messages to the worker that reads it.
//!
//! An app's author wrote the manifest, so the parser runs in a process that may do nothing, and what it answers
//! is not believed: a plan is decoded and checked again here, a text is escaped. One manifest is under way at a
//! time; one that kills the worker three times is given up, and the next has its turn.
//!
//! ```text
//! to the worker    u32 number (little-endian), manifest text (at most 64 KiB)
//! from the worker  u32 number, u8 0 = encoded plan follows | 1 = text for people follows
//! ```
//! The number pairs them: an answer to a question asked before a crash is recognised and dropped.

use std::collections::VecDeque;

/// Longest message either way.
pub const MESSAGE_MAX: usize = 160 * 1024;
/// Crashes or silences over one manifest after which it is given up.
const ATTEMPTS: u32 = 3;
/// Longest time for one manifest, milliseconds. Real ones take a few.
const PATIENCE_MS: u64 = 5000;

/// What the worker says about a manifest.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An encoded plan, unchecked.
    Plan(Vec<u8>),
    /// Faults, unescaped.
    Problems(Vec<u8>),
    /// It could not be read: the worker failed over it.
    GivenUp,
}

/// The queue. Boxes are named by uid; the text is fetched when its turn comes.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<u32>,
    current: Option<Current>,
    number: u32,
}

#[derive(Debug)]
struct Current {
    uid: u32,
    attempts: u32,
    /// Until when an answer is waited for; `None` while the worker is down.
    deadline_ms: Option<u64>,
}

impl Queue {
    /// Adds the manifest of `uid`.
    pub fn push(&mut self, uid: u32) {
        self.waiting.push_back(uid);
    }

    /// Nothing is to be read.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none()
    }

    /// The box whose manifest is to be sent now, and under which number; the worker must be up.
    pub fn next(&mut self, now_ms: u64) -> Option<(u32, u32)> {
        let current = match &mut self.current {
            Some(current) if current.deadline_ms.is_some() => return None,
            Some(current) => current,
            None => {
                let uid = self.waiting.pop_front()?;
                self.current.insert(Current { uid, attempts: 0, deadline_ms: None })
            }
        };
        current.deadline_ms = Some(now_ms + PATIENCE_MS);
        self.number = self.number.wrapping_add(1);
        Some((self.number, current.uid))
    }

    /// The manifest could not even be sent: it is out of the queue.
    pub fn skip(&mut self) {
        self.current = None;
    }

    /// There will be no worker: everything is out of the queue.
    pub fn give_up(&mut self) -> Vec<u32> {
        let current = self.current.take().map(|c| c.uid);
        current.into_iter().chain(self.waiting.drain(..)).collect()
    }

    /// An answer came. `None` when it answers nothing that was asked.
    pub fn answer(&mut self, message: &[u8]) -> Option<(u32, Verdict)> {
        let (number, rest) = message.split_first_chunk()?;
        let (kind, body) = rest.split_first()?;
        if u32::from_le_bytes(*number) != self.number {
            return None;
        }
        let current = self.current.take_if(|c| c.deadline_ms.is_some())?;
        let verdict = if *kind == 0 { Verdict::Plan(body.into()) } else { Verdict::Problems(body.into()) };
        Some((current.uid, verdict))
    }

    /// The worker ended. Gives the manifest that is now given up, if one is.
    pub fn worker_ended(&mut self) -> Option<(u32, Verdict)> {
        let current = self.current.as_mut().filter(|c| c.deadline_ms.is_some())?;
        current.deadline_ms = None;
        current.attempts += 1;
        let given_up = current.attempts >= ATTEMPTS;
        given_up.then(|| self.current.take().map(|c| (c.uid, Verdict::GivenUp))).flatten()
    }

    /// When the worker will have been silent for too long.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.current.as_ref()?.deadline_ms
    }
}

/// The message that asks for `text`.
pub fn question(number: u32, text: &[u8]) -> Vec<u8> {
    let mut message = number.to_le_bytes().to_vec();
    message.extend_from_slice(text);
    message
}

/// What the worker does with one message; `None` for one that is no question.
pub fn work(message: &[u8]) -> Option<Vec<u8>> {
    let (number, text) = message.split_first_chunk::<4>()?;
    let (kind, body) = match std::str::from_utf8(text) {
        Ok(text) => match policy::check(text, &policy::Board::default()) {
            Ok(manifest) => (0, policy::compile(&manifest).encode()),
            Err(problems) => {
                let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
                (1, text.join("\n").into_bytes())
            }
        },
        Err(_) => (1, b"manifest.toml:1: not UTF-8 text".to_vec()),
    };
    let mut answer = number.to_vec();
    answer.push(kind);
    answer.extend_from_slice(body.get(..MESSAGE_MAX - 5).unwrap_or(&body));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u32, kind: u8, body: &[u8]) -> Vec<u8> {
        [&number.to_le_bytes(), &[kind][..], body].concat()
    }

    #[test]
    fn queue_asks_one_at_a_time_and_pairs_answers() {
        let mut queue = Queue::default();
        queue.push(1);
        queue.push(2);
        let (number, uid) = queue.next(0).unwrap();
        assert_eq!((uid, queue.next(0)), (1, None));
        assert_eq!(queue.answer(&answer(number + 1, 0, b"x")), None);
        assert_eq!(queue.answer(b"\x01"), None);
        assert_eq!(queue.answer(&answer(number, 0, b"x")), Some((1, Verdict::Plan(b"x".to_vec()))));
        assert_eq!(queue.answer(&answer(number, 0, b"x")), None);
        assert_eq!(queue.next(0).unwrap().1, 2);
        assert!(!queue.is_empty());
    }

    #[test]
    fn queue_gives_up_after_three_crashes_and_goes_on() {
        let mut queue = Queue::default();
        queue.push(1);
        queue.push(2);
        for _ in 0..2 {
            assert_eq!(queue.next(0).unwrap().1, 1);
            assert_eq!(queue.worker_ended(), None);
        }
        let (stale, _) = queue.next(0).unwrap();
        assert_eq!(queue.worker_ended(), Some((1, Verdict::GivenUp)));
        assert_eq!(queue.worker_ended(), None);
        assert_eq!(queue.next(0).unwrap().1, 2);
        assert_eq!(queue.answer(&answer(stale, 0, b"x")), None);
    }

    #[test]
    fn work_answers_plan_or_problems() {
        let good = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n[resources]\nmemory = \"8MiB\"\ncpu = \"10%\"\ntasks = 4\n";
        let plan = work(&question(7, good.as_bytes())).unwrap();
        assert_eq!(plan[..5], [7, 0, 0, 0, 0]);
        assert!(policy::Plan::decode(&plan[5..], &policy::Board::default()).is_ok());
        let bad = work(&question(8, b"[app]\nnonsense = 1\n")).unwrap();
        assert_eq!(bad[..5], [8, 0, 0, 0, 1]);
        assert!(String::from_utf8_lossy(&bad[5..]).contains("nonsense"));
        assert_eq!(work(b"abc"), None);
        assert_eq!(work(&question(9, b"\xff")).unwrap()[4], 1);
    }
}
