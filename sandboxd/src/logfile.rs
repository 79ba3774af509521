//! One app's log on disk: two files of bounded size, written a line at a time as they come.
//!
//! `current` is appended to; when full it becomes `current.1` and a new one begins. A full or missing disk loses
//! lines, which are counted, and stops nobody. Nothing is synced: a log is not worth a write barrier per line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Size at which a file is rotated, bytes. Two of them per app.
pub const ROTATE_AT: u64 = 256 << 10;

/// The log of one app.
#[derive(Debug)]
pub struct LogFile {
    dir: PathBuf,
    file: Option<File>,
    size: u64,
    lost: u64,
}

impl LogFile {
    /// The log in `dir`, which is made when the first line comes.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, file: None, size: 0, lost: 0 }
    }

    /// Appends whole lines.
    pub fn append(&mut self, lines: &str) {
        if self.write(lines).is_err() {
            self.file = None;
            self.lost = self.lost.saturating_add(lines.lines().count() as u64);
        }
    }

    /// Its files were taken away: the next line begins new ones.
    pub fn begin_anew(&mut self) {
        self.file = None;
        self.size = 0;
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The newest whole lines, at most `max` bytes of them. Empty when there is none, or no reading.
    pub fn tail(&self, max: usize) -> String {
        tail(&self.dir, "current", max)
    }

    /// All that is kept, oldest first.
    pub fn whole(&self) -> Vec<u8> {
        let read = |name: &str| fs::read(self.dir.join(name)).unwrap_or_default();
        [read("current.1"), read("current")].concat()
    }

    fn write(&mut self, lines: &str) -> io::Result<()> {
        if self.size >= ROTATE_AT {
            self.file = None;
            match fs::rename(self.dir.join("current"), self.dir.join("current.1")) {
                // Renamed already, but no new one could be made then: the disk was full.
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
                let mut options = OpenOptions::new();
                let file = options.append(true).create(true).mode(0o600).open(self.dir.join("current"))?;
                self.size = file.metadata()?.len();
                self.file.insert(file)
            }
        };
        file.write_all(lines.as_bytes())?;
        self.size += lines.len() as u64;
        Ok(())
    }
}

/// The newest whole lines of `NAME.1` and `NAME` in `dir`, at most `max` bytes of them.
pub(crate) fn tail(dir: &Path, name: &str, max: usize) -> String {
    let mut text = end_of(&dir.join(name), max);
    if text.len() < max {
        let mut older = end_of(&dir.join(format!("{name}.1")), max - text.len());
        older.append(&mut text);
        text = older;
    }
    plain_text(&text)
}

/// Bytes of a disk that somebody may have had as text that is not longer than they are: it has to fit where they would.
pub fn plain_text(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks();
    chunks.flat_map(|chunk| [chunk.valid(), if chunk.invalid().is_empty() { "" } else { "?" }]).collect()
}

/// The last `max` bytes of a file, without a first line that is cut.
fn end_of(path: &Path, max: usize) -> Vec<u8> {
    File::open(path).and_then(|file| newest_lines(file, max)).unwrap_or_default()
}

/// The last `max` bytes of what is to be read, without a first line that is cut.
///
/// # Errors
/// Those of reading.
pub fn newest_lines(mut source: impl Read + Seek, max: usize) -> io::Result<Vec<u8>> {
    let skip = source.seek(SeekFrom::End(0))?.saturating_sub(max as u64);
    // One byte more, to see whether what is skipped ends a line.
    source.seek(SeekFrom::Start(skip.saturating_sub(1)))?;
    let mut bytes = Vec::new();
    source.take(max as u64 + u64::from(skip > 0)).read_to_end(&mut bytes)?;
    if skip > 0 {
        let cut = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..cut);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_bounded_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(dir.path().join("app"));
        let line = "x".repeat(1023) + "\n";
        for _ in 0..2000 {
            log.append(&line);
        }
        log.append("last\n");
        let size = |name: &str| fs::metadata(dir.path().join("app").join(name)).unwrap().len();
        assert!(size("current") <= ROTATE_AT + 1024 && size("current.1") <= ROTATE_AT + 1024);
        assert_eq!(fs::read_dir(dir.path().join("app")).unwrap().count(), 2);
        assert!(fs::read_to_string(dir.path().join("app/current")).unwrap().ends_with("last\n"));
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn log_that_could_not_be_begun_anew_goes_on_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(dir.path().into());
        log.append(&("x".repeat(ROTATE_AT as usize) + "\n"));
        // What is left when the second half of a rotation fails.
        fs::rename(dir.path().join("current"), dir.path().join("current.1")).unwrap();
        log.append("later\n");
        assert_eq!((log.lost(), log.tail(6)), (0, "later\n".to_owned()));
    }

    #[test]
    fn log_opened_again_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        LogFile::new(dir.path().into()).append("one\n");
        LogFile::new(dir.path().into()).append("two\n");
        assert_eq!(fs::read_to_string(dir.path().join("current")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn tail_is_whole_lines_of_both_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("current.1"), "aaa\nbbb\n").unwrap();
        fs::write(dir.path().join("current"), "ccc\nddd\n").unwrap();
        let log = LogFile::new(dir.path().into());
        assert_eq!(log.tail(100), "aaa\nbbb\nccc\nddd\n");
        assert_eq!(log.tail(12), "bbb\nccc\nddd\n");
        assert_eq!(log.tail(11), "ccc\nddd\n");
        assert_eq!(log.tail(4), "ddd\n");
        assert_eq!(log.tail(3), "");
        assert_eq!(log.whole(), b"aaa\nbbb\nccc\nddd\n");
        assert_eq!(LogFile::new("/proc/no-such".into()).tail(9), "");
    }

    #[test]
    fn tail_of_a_spoiled_disk_is_not_longer_than_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("current"), [&[0xff; 5][..], b"a\n", &[0xfe; 90], b"\n"].concat()).unwrap();
        let log = LogFile::new(dir.path().into());
        assert!(log.tail(98).len() <= 98 && log.tail(98).contains("a\n"), "{}", log.tail(98));
    }

    #[test]
    fn log_without_a_place_counts_what_is_lost() {
        let mut log = LogFile::new("/proc/no-such/log".into());
        log.append("a\nb\n");
        assert_eq!(log.lost(), 2);
    }
}
