//! What people see on the console: our messages and the apps' lines, each a whole line with its origin in front.
//!
//! Nothing an app wrote gets here unescaped, and every line an app caused starts with `[id]`, so it cannot be
//! taken for one of ours.

use std::io::Write;

/// Writes one message of ours; each of its lines gets the prefix. A console that is gone is no reason to stop.
pub fn say(text: impl std::fmt::Display) {
    let mut out = String::new();
    for line in text.to_string().lines() {
        out.push_str("gabion: ");
        out.push_str(line);
        out.push('\n');
    }
    write(&out);
}

/// Writes prepared lines at once.
pub fn write(lines: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(lines.as_bytes());
    let _ = out.flush();
}

/// Something is wrong with `subject`; `help` is what to do about it.
pub fn problem(subject: &str, text: &str, help: &str) {
    let mut all = String::new();
    for line in text.lines() {
        all.push_str(&format!("problem id={subject} {line}\n"));
    }
    for line in help.lines() {
        all.push_str(&format!("problem id={subject}   help: {line}\n"));
    }
    say(all.trim_end());
}
