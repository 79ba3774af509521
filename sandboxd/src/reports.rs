//! What the service should hear of: ends and refusals, alike ones together, kept until it has them.
//!
//! Invariants: at most [`MOST`] of them, none older than [`OLDEST_S`]; a new one is on the disk before it is told of;
//! after a power cut nothing that was told of as kept is lost, but for the last few counts of what came again and again.
//!
//! The file is appended to, a line for each state of a report; the last line of a number of fields counts. It is written
//! anew when it has become long, and when the service has taken some. Whoever has the disk may write anything to it:
//! lines that are no report are passed over.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use bus::attest_link::Report;

use crate::whole;

/// Reports that are kept.
pub const MOST: usize = 1000;
/// How long, seconds: 14 days.
pub const OLDEST_S: u64 = 14 * 24 * 3600;
/// At this length the file is written anew, bytes.
const LONG: u64 = 1 << 20;
/// Longest detail that is kept, bytes.
const DETAIL_MAX: usize = 300;

/// What makes reports alike.
type Alike = (String, String, String, String);

/// See the module.
#[derive(Debug, Default)]
pub struct Reports {
    path: Option<PathBuf>,
    all: BTreeMap<Alike, Report>,
    next: u64,
    length: u64,
}

impl Reports {
    /// Those in the file at `path`, which need not be there.
    pub fn load(path: PathBuf) -> Self {
        let text = fs::read(&path).unwrap_or_default();
        Self { path: Some(path), ..Self::read(&text) }
    }

    /// Those in a file's text, kept in memory alone.
    pub fn read(text: &[u8]) -> Self {
        let mut reports = Self { length: text.len() as u64, ..Self::default() };
        for report in String::from_utf8_lossy(text).lines().filter_map(read) {
            reports.next = reports.next.max(report.number.saturating_add(1));
            reports.all.insert(alike(&report), report);
        }
        while reports.all.len() > MOST {
            reports.drop_oldest();
        }
        reports
    }

    /// Something happened at `now_s`, seconds since 1970-01-01 UTC. Gives its report as it is kept now.
    ///
    /// # Errors
    /// It could not be written: it is known, and lost with the power.
    pub fn add(
        &mut self,
        id: &str,
        version: &str,
        kind: &str,
        detail: &str,
        now_s: u64,
    ) -> (Report, io::Result<()>) {
        self.all.retain(|_, report| report.last_s.saturating_add(OLDEST_S) >= now_s);
        let detail: String =
            detail.chars().filter(|c| matches!(c, ' '..='~') && *c != '\\').take(DETAIL_MAX).collect();
        let fresh = Report {
            number: 0,
            id: id.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            detail,
            count: 0,
            first_s: now_s,
            last_s: now_s,
        };
        let key = alike(&fresh);
        let new = !self.all.contains_key(&key);
        if new && self.all.len() >= MOST {
            self.drop_oldest();
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let report = self.all.entry(key).or_insert(fresh);
        (report.number, report.last_s) = (number, now_s);
        report.count = report.count.saturating_add(1);
        let report = report.clone();
        let written = self.write(&report, new);
        (report, written)
    }

    /// The service has every report up to `number`.
    ///
    /// # Errors
    /// The file can't be written: they will be told again, which does no harm.
    pub fn taken(&mut self, number: u64) -> io::Result<()> {
        let before = self.all.len();
        self.all.retain(|_, report| report.number > number);
        if self.all.len() == before { Ok(()) } else { self.rewrite() }
    }

    /// All of them, in the order of their numbers.
    pub fn all(&self) -> Vec<Report> {
        let mut all: Vec<_> = self.all.values().cloned().collect();
        all.sort_by_key(|report| report.number);
        all
    }

    fn drop_oldest(&mut self) {
        let oldest = self.all.iter().min_by_key(|(_, report)| report.number).map(|(key, _)| key.clone());
        oldest.and_then(|key| self.all.remove(&key));
    }

    fn write(&mut self, report: &Report, sync: bool) -> io::Result<()> {
        if self.length > LONG {
            return self.rewrite();
        }
        let Some(path) = &self.path else { return Ok(()) };
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let line = written(report);
        file.write_all(line.as_bytes())?;
        self.length += line.len() as u64;
        if sync {
            file.sync_data()?;
            // The first line made the file as well.
            File::open(path.parent().unwrap_or(path))?.sync_all()?;
        }
        Ok(())
    }

    /// The text of the file, as it is written anew.
    pub fn text(&self) -> String {
        self.all().iter().map(written).collect()
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let text = self.text();
        self.length = text.len() as u64;
        self.path.as_ref().map_or(Ok(()), |path| whole::replace(path, text.as_bytes()))
    }
}

fn alike(report: &Report) -> Alike {
    (report.id.clone(), report.version.clone(), report.kind.clone(), report.detail.clone())
}

/// One line: a mark at each end, so that one that was cut is none.
fn written(report: &Report) -> String {
    let Report { number, id, version, kind, detail, count, first_s, last_s } = report;
    format!("+\t{number}\t{count}\t{first_s}\t{last_s}\t{id}\t{version}\t{kind}\t{detail}\t.\n")
}

fn read(line: &str) -> Option<Report> {
    let fields: Vec<&str> = line.split('\t').collect();
    let ["+", number, count, first_s, last_s, id, version, kind, detail, "."] = fields[..] else {
        return None;
    };
    let printable = |text: &str, most: usize| {
        let good = text.len() <= most && text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'\\');
        good.then(|| text.to_owned())
    };
    Some(Report {
        number: number.parse().ok()?,
        count: count.parse().ok()?,
        first_s: first_s.parse().ok()?,
        last_s: last_s.parse().ok()?,
        id: printable(id, 128)?,
        version: printable(version, 64)?,
        kind: printable(kind, 32)?,
        detail: printable(detail, DETAIL_MAX)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_alike_are_one_that_survives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reports");
        let mut reports = Reports::load(path.clone());
        reports.add("com.example.a", "1.0.0", "exit", "code=3", 100).1.unwrap();
        reports.add("com.example.a", "1.0.0", "exit", "code=3", 160).1.unwrap();
        let (other, written) = reports.add("com.example.a", "1.0.1", "exit", "code=3\n", 170);
        written.unwrap();
        assert_eq!((other.number, other.count, other.detail.as_str()), (2, 1, "code=3"));
        let again = Reports::load(path.clone());
        assert_eq!(again.all(), reports.all());
        let first = &again.all()[0];
        assert_eq!((first.number, first.count, first.first_s, first.last_s), (1, 2, 100, 160));
        // What came after the service had it stays.
        reports.add("com.example.a", "1.0.0", "exit", "code=3", 180).1.unwrap();
        reports.taken(2).unwrap();
        let left = Reports::load(path).all();
        assert_eq!((left.len(), left[0].count, left[0].number), (1, 3, 3));
    }

    #[test]
    fn reports_too_many_or_too_old_are_dropped() {
        let mut reports = Reports::default();
        for n in 0..MOST + 5 {
            reports.add("a", "1", "denied", &format!("call={n}"), 1000).1.unwrap();
        }
        let all = reports.all();
        assert_eq!((all.len(), all[0].detail.as_str()), (MOST, "call=5"));
        reports.add("a", "1", "exit", "code=1", 1000 + OLDEST_S + 1).1.unwrap();
        assert_eq!(reports.all().len(), 1);
    }

    #[test]
    fn file_with_nonsense_or_cut_keeps_what_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reports");
        let mut reports = Reports::load(path.clone());
        reports.add("a", "1", "exit", "code=1", 5).1.unwrap();
        reports.add("b", "1", "exit", "code=1", 5).1.unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 2);
        bytes.splice(0..0, *b"\xff\n+\t1\n");
        fs::write(&path, bytes).unwrap();
        let all = Reports::load(path).all();
        assert_eq!((all.len(), all[0].id.as_str()), (1, "a"));
    }
}
