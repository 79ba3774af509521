//! From bytes an app wrote to lines we keep: cut, escaped, counted.
//!
//! The app controls every byte. What comes out has no control character, no line break, no direction override
//! and a bounded length, so it can neither forge another line of the log or console nor grow our memory.

use package::tree::deceives;

/// A longer line is cut here; the rest of it up to the next line break is skipped.
pub const MAX_LINE: usize = 4096;

/// Collects bytes into lines. Holds at most one unfinished line.
#[derive(Debug, Default)]
pub struct LineBuffer {
    pending: Vec<u8>,
    skipping: bool,
}

impl LineBuffer {
    /// Takes `bytes`, hands each finished line to `out`, raw and at most [`MAX_LINE`] long. The line is not
    /// escaped yet, so that one which is dropped costs nothing.
    pub fn push(&mut self, bytes: &[u8], mut out: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| *b == b'\n') {
            let (line, tail) = rest.split_at(at);
            self.append(line, &mut out);
            if !std::mem::take(&mut self.skipping) {
                out(&self.pending);
            }
            self.pending.clear();
            rest = tail.get(1..).unwrap_or_default();
        }
        self.append(rest, &mut out);
        if self.pending.is_empty() {
            // A quiet app costs no buffer.
            self.pending = Vec::new();
        }
    }

    /// Hands out what has no line break yet: the writer is gone.
    pub fn finish(&mut self, out: impl FnOnce(&[u8])) {
        if !self.pending.is_empty() {
            out(&self.pending);
        }
        *self = Self::default();
    }

    fn append(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) {
        if self.skipping {
            return;
        }
        let room = MAX_LINE - self.pending.len();
        self.pending.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if bytes.len() > room {
            out(&self.pending);
            self.pending.clear();
            self.skipping = true;
        }
    }
}

/// Text safe to print on one line: what is not printable becomes `\xNN` or `\u{N}`. A carriage return at the
/// end is dropped, a tab stays.
pub fn escape(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => out.push(c),
                _ if c.is_control() && c.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                _ if c.is_control() || deceives(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
                _ => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let mut buffer = LineBuffer::default();
        let mut out = Vec::new();
        for part in parts {
            buffer.push(part, |l| out.push(escape(l)));
        }
        buffer.finish(|l| out.push(escape(l)));
        out
    }

    #[test]
    fn line_split_over_reads_is_one() {
        assert_eq!(lines(&[b"he", b"llo\nwor", b"ld\n\n", b"x"]), ["hello", "world", "", "x"]);
    }

    #[test]
    fn line_too_long_is_cut_once() {
        let long = vec![b'a'; 3 * MAX_LINE];
        let out = lines(&[&long, b"more\nnext\n"]);
        assert_eq!(out.len(), 2);
        assert_eq!(out[0].len(), MAX_LINE);
        assert_eq!(out[1], "next");
    }

    #[test]
    fn line_of_exactly_the_limit_is_whole() {
        let long = vec![b'a'; MAX_LINE];
        assert_eq!(lines(&[&long, b"\n"]), [String::from_utf8(long).unwrap()]);
    }

    #[test]
    fn escape_leaves_nothing_that_moves_the_cursor() {
        let text = escape("a\u{1b}[2Jb\rc\u{85}\u{202e}\u{7f}\t".as_bytes());
        assert_eq!(text, "a\\x1b[2Jb\\x0dc\\u{85}\\u{202e}\\x7f\t");
        assert_eq!(escape(b"caf\xc3\xa9 \xff\xfe\r"), "café \\xff\\xfe");
    }

    #[test]
    fn escape_any_bytes_stay_on_one_line() {
        for seed in 0_u32..2000 {
            let bytes: Vec<u8> =
                (0..64).map(|i| (seed.wrapping_mul(2_654_435_761).rotate_left(i) >> 7) as u8).collect();
            assert!(escape(&bytes).chars().all(|c| c == '\t' || !c.is_control()));
        }
    }
}
