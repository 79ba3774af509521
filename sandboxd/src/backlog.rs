//! What waits to be shown on the console. Bounded, and fair to apps that say little. No I/O, no clock.
//!
//! The console may be a serial line of 11 kB a second (115,200 baud), slower, or stopped. Apps share [`APPS`] bytes of
//! waiting text; the rest up to [`ALL`] is for lines of our own. The more of their share is used up, the more of its
//! *own* budget an app must have left to be let in. So floods crowd out each other and themselves, and never an app
//! that was quiet.

use std::collections::VecDeque;

/// Bytes of apps' lines that wait at most: three seconds of a 115,200 baud line.
pub const APPS: usize = 32 << 10;
/// Bytes that wait at most.
pub const ALL: usize = 64 << 10;
/// Longest line, and most that is written at once, bytes. A terminal that has room at all has room for 3840 bytes
/// (4096 less the 256 below which Linux calls it writable), so that a line of PID 1's still finds some after ours.
pub const CHUNK: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Backlog {
    text: VecDeque<u8>,
    hidden: u64,
}

impl Backlog {
    /// Takes whole lines of our own; those that find no room are counted.
    pub fn ours(&mut self, lines: &str) {
        for line in lines.split_inclusive('\n') {
            if self.hidden > 0 && self.room() {
                let text = format!("gabion: ... {} lines not shown\n", std::mem::take(&mut self.hidden));
                self.text.extend(text.as_bytes());
            }
            if self.text.len() + line.len() <= ALL {
                self.push(line);
            } else {
                self.hidden = self.hidden.saturating_add(1);
            }
        }
    }

    /// Whether there is room for a word about what was not shown.
    fn room(&self) -> bool {
        self.text.len() + CHUNK <= ALL
    }

    /// Takes a line of an app that has `left` of 1000 parts of its own budget. False when it is not let in.
    pub fn app(&mut self, line: &str, left: u64) -> bool {
        let used = self.text.len() + line.len().min(CHUNK);
        let free = (APPS.saturating_sub(used) * 1000 / APPS) as u64;
        let fits = used <= APPS && free + left >= 1000;
        if fits {
            self.push(line);
        }
        fits
    }

    /// A line that is too long is cut, and says so.
    fn push(&mut self, line: &str) {
        const CUT: &str = "...\n";
        if line.len() <= CHUNK {
            self.text.extend(line.as_bytes());
            return;
        }
        let end = (0..=CHUNK - CUT.len()).rev().find(|at| line.is_char_boundary(*at)).unwrap_or_default();
        self.text.extend(line.get(..end).unwrap_or_default().as_bytes());
        self.text.extend(CUT.as_bytes());
    }

    /// What to write next: whole lines, as far as they fit into [`CHUNK`] bytes.
    pub fn piece(&mut self) -> &[u8] {
        let text: &[u8] = self.text.make_contiguous();
        let head = text.get(..CHUNK).unwrap_or(text);
        match head.iter().rposition(|b| *b == b'\n') {
            Some(at) => head.get(..=at).unwrap_or(head),
            None => head,
        }
    }

    /// So many bytes of it were written.
    pub fn written(&mut self, count: usize) {
        self.text.drain(..count.min(self.text.len()));
        if self.text.is_empty() {
            // Silence costs no memory.
            self.text = VecDeque::new();
        }
    }

    /// Nobody will ever read it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Bucket;

    fn drained(backlog: &mut Backlog) -> String {
        let mut out = Vec::new();
        while !backlog.is_empty() {
            let chunk = backlog.piece().to_vec();
            assert!(!chunk.is_empty() && chunk.len() <= CHUNK && chunk.ends_with(b"\n"), "{chunk:?}");
            backlog.written(chunk.len());
            out.extend(chunk);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn backlog_gives_whole_lines_in_order() {
        let mut backlog = Backlog::default();
        let mut all = String::new();
        for n in 0..200 {
            let line = format!("[app] {n} {}\n", "x".repeat(n));
            assert!(backlog.app(&line, 1000));
            all.push_str(&line);
        }
        assert_eq!(drained(&mut backlog), all);
    }

    #[test]
    fn backlog_written_in_part_goes_on_where_it_was() {
        let mut backlog = Backlog::default();
        backlog.ours("one\ntwo\n");
        backlog.written(2);
        assert_eq!(backlog.piece(), b"e\ntwo\n");
    }

    #[test]
    fn backlog_line_too_long_is_cut_at_a_character() {
        let mut backlog = Backlog::default();
        backlog.ours(&format!("{}\nnext\n", "é".repeat(CHUNK)));
        let text = drained(&mut backlog);
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.len() < CHUNK && first.ends_with("é..."), "{first}");
        assert_eq!(rest, "next\n");
    }

    #[test]
    fn floods_leave_room_for_quiet_apps_and_for_us() {
        let mut backlog = Backlog::default();
        let mut floods: Vec<Bucket> = (0..20).map(|_| Bucket::new(2048, 16_384)).collect();
        let line = "[com.example.flood] and so on and so forth\n";
        let mut refused = 0;
        // Nobody reads. Time goes on, so their budgets come back again and again.
        for now in (0..600_000).step_by(10) {
            for flood in &mut floods {
                let left = flood.left(now);
                let shown = flood.take(line.len() as u32, now) && backlog.app(line, left);
                refused += u32::from(!shown);
            }
            assert!(backlog.app("", 950), "an app that was quiet is shut out after {now} ms");
        }
        assert!(refused > 1000);
        assert!(backlog.text.len() <= APPS);
        backlog.ours("ours\n");
        assert!(drained(&mut backlog).ends_with("ours\n"));
    }

    #[test]
    fn one_app_alone_may_say_much_at_once() {
        let (mut backlog, mut app) = (Backlog::default(), Bucket::new(2048, 16_384));
        let line = "x".repeat(63) + "\n";
        let mut shown = 0;
        while backlog.app(&line, app.left(0)) && app.take(64, 0) {
            shown += 64;
        }
        assert!(shown > 10_000, "{shown}");
    }

    #[test]
    fn ours_without_room_are_counted_and_told() {
        let mut backlog = Backlog::default();
        for _ in 0..2 * ALL / 8 {
            backlog.ours("gabion.\n");
        }
        assert!(backlog.text.len() <= ALL);
        let shown = drained(&mut backlog).lines().count();
        backlog.ours("after\n");
        let text = drained(&mut backlog);
        assert_eq!(text, format!("gabion: ... {} lines not shown\nafter\n", 2 * ALL / 8 - shown));
    }
}
