//! The console of a device: kept line by line as it comes, and in a file; and waiting for a line.
//!
//! A pattern is text that a line contains; `*` stands for anything between its parts.

use anyhow::{Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
    /// Nothing is read from the device for now.
    held: bool,
}

/// What a device has said so far. Clones see the same.
#[derive(Clone, Default)]
pub struct Console(Arc<(Mutex<Said>, Condvar)>);

impl Console {
    /// Collects all that comes from `source`, in a thread that ends with it.
    pub fn collect(source: impl Read + Send + 'static, mut log: File) -> Self {
        let console = Self::default();
        let shared = console.clone();
        std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                drop(shared.0.1.wait_while(shared.said(), |said| said.held));
                // A log that cannot be written is no reason to fail a test.
                let _ = log.write_all(&line);
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
                shared.said().lines.push(text);
                shared.0.1.notify_all();
                line.clear();
            }
            shared.said().ended = true;
            shared.0.1.notify_all();
        });
        console
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops reading what the device says, or goes on: as a stopped terminal does.
    pub fn hold(&self, held: bool) {
        self.said().held = held;
        self.0.1.notify_all();
    }

    /// How many lines were said: where to search from for what is still to be said.
    pub fn mark(&self) -> usize {
        self.said().lines.len()
    }

    /// All lines since `mark` that fit.
    pub fn lines(&self, mark: usize, pattern: &str) -> Vec<String> {
        self.said().lines.iter().skip(mark).filter(|line| fits(line, pattern)).cloned().collect()
    }

    /// Waits for a line after `mark` that fits; gives it.
    ///
    /// # Errors
    /// When it has not come after `patience`, or the device has ended without saying it.
    pub fn wait(&self, mark: usize, pattern: &str, patience: Duration) -> Result<String> {
        self.wait_count(mark, pattern, 1, patience)
    }

    /// Waits for the last line.
    ///
    /// # Errors
    /// When lines still may come after `patience`.
    pub fn wait_end(&self, patience: Duration) -> Result<()> {
        let (said, _) = self
            .0
            .1
            .wait_timeout_while(self.said(), patience, |said| !said.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if said.ended { Ok(()) } else { bail!("the console does not end") }
    }

    /// Waits until `count` lines after `mark` fit; gives the last one.
    ///
    /// # Errors
    /// As [`Console::wait`].
    pub fn wait_count(&self, mark: usize, pattern: &str, count: usize, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        let mut said = self.said();
        loop {
            let mut found = said.lines.iter().skip(mark).filter(|line| fits(line, pattern));
            if let Some(line) = found.nth(count.saturating_sub(1)) {
                return Ok(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.ended || left.is_zero() {
                let why = if said.ended { "the device ended" } else { "time is up" };
                let last = said.lines.len().saturating_sub(25);
                bail!(
                    "{why}, and {count} times `{pattern}` did not come; the last lines:\n{}",
                    said.lines[last..].join("\n")
                );
            }
            said = self.0.1.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn fits(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_parts_out_of_order_do_not_fit() {
        assert!(fits("event exited id=a pid=3 reason=oom", "exited id=a *reason=oom"));
        assert!(!fits("event exited id=a pid=3 reason=oom", "reason=oom*id=a"));
    }
}
