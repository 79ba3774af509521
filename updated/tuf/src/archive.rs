//! A repository in one file: a tar archive, as it is carried to a device that has no network.
//!
//! It is POSIX's `ustar`, so that any `tar` opens it; what is read is less than that may have: files and directories, no
//! links, no extensions, no name twice. First comes [`LIST`], which is how a disk with an archive is told from others, and says
//! which releases it is for. Then `metadata/` and `targets/`, as on a web server.
//!
//! What an attacker controls: every byte, and when the disk goes. Names are never paths: they are looked for among those that are
//! there. Nothing lies outside of the file, and there is an end to how many there are.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::future::{Future, ready};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use crate::source::{Body, Place, Source, SourceError};

/// The first file: JSON, `{"releases": […]}` with the paths of the releases that it is for.
pub const LIST: &str = "gabion-update.json";
/// Bytes of a header; what is in front of each file is a multiple.
pub const HEADER: usize = 512;
/// Files of an archive.
const ENTRIES_MAX: usize = 2048;
/// Longest list, bytes.
const LIST_MAX: u64 = 64 << 10;
/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;
const MAGIC: &[u8] = b"ustar\x0000";
/// Where fields are, and how long.
const NAME: (usize, usize) = (0, 100);
const SIZE: (usize, usize) = (124, 12);
const SUM: (usize, usize) = (148, 8);
const KIND: usize = 156;
const PREFIX: (usize, usize) = (345, 155);

/// What is wrong with an archive.
#[derive(Debug)]
pub enum Fault {
    /// It can not be read.
    Io(io::Error),
    /// It is none, or has something that one of ours has not.
    Form(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("the archive can not be read"),
            Self::Form(what) => write!(f, "the archive {what}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Form(_) => None,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where a file lies: its first byte, and how many.
pub type Lies = (u64, u64);

/// What is in an archive of `size` bytes, of which `read` gives headers.
///
/// # Errors
/// See [`Fault`].
pub fn entries(
    size: u64,
    mut read: impl FnMut(u64, &mut [u8; HEADER]) -> io::Result<()>,
) -> Result<BTreeMap<String, Lies>, Fault> {
    let (mut all, mut at, mut headers) = (BTreeMap::new(), 0_u64, 0);
    loop {
        let behind = at.checked_add(HEADER as u64).filter(|behind| *behind <= size);
        let behind = behind.ok_or(Fault::Form("is cut off"))?;
        let mut header = [0; HEADER];
        read(at, &mut header)?;
        let Some((name, length)) = entry(&header)? else { return Ok(all) };
        let end =
            length.checked_next_multiple_of(HEADER as u64).and_then(|length| behind.checked_add(length));
        at = end.filter(|end| *end <= size).ok_or(Fault::Form("is cut off"))?;
        if all.is_empty() != (name == LIST) {
            return Err(Fault::Form("does not begin with what it is for"));
        }
        headers += 1;
        if headers > ENTRIES_MAX {
            return Err(Fault::Form("has too many files"));
        }
        if !name.ends_with('/') && all.insert(name, (behind, length)).is_some() {
            return Err(Fault::Form("has a file twice"));
        }
    }
}

/// A header's name and length; none at the end. A directory's name ends with `/`.
fn entry(header: &[u8; HEADER]) -> Result<Option<(String, u64)>, Fault> {
    if header.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let field = |(at, length): (usize, usize)| header.get(at..at + length).unwrap_or_default();
    if field((257, 8)) != MAGIC || number(field(SUM)) != Some(sum(header)) {
        return Err(Fault::Form("is none"));
    }
    let length = number(field(SIZE)).ok_or(Fault::Form("has a file without a length"))?;
    let name = match (text(field(PREFIX)), text(field(NAME))) {
        (Some(""), Some(name)) => name.to_owned(),
        (Some(prefix), Some(name)) => format!("{prefix}/{name}"),
        _ => return Err(Fault::Form("has a name that is none")),
    };
    match header.get(KIND) {
        Some(b'0' | 0) if !name.is_empty() && !name.ends_with('/') => Ok(Some((name, length))),
        Some(b'5') if length == 0 => Ok(Some((format!("{}/", name.trim_end_matches('/')), 0))),
        _ => Err(Fault::Form("has something else than files and directories")),
    }
}

/// A field's text: printable, up to its first nought.
fn text(field: &[u8]) -> Option<&str> {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    text.iter().all(u8::is_ascii_graphic).then(|| std::str::from_utf8(text).ok()).flatten()
}

/// A field's number: octal digits, then blanks or noughts.
fn number(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(field.len());
    let (digits, rest) = field.split_at_checked(end)?;
    if digits.is_empty() || rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// The sum of a header's bytes, blanks instead of the sum itself.
fn sum(header: &[u8; HEADER]) -> u64 {
    let all: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = header.iter().skip(SUM.0).take(SUM.1).map(|byte| u64::from(*byte)).sum();
    all - own + u64::from(b' ') * SUM.1 as u64
}

/// An archive that was opened.
#[derive(Clone, Debug)]
pub struct Archive {
    file: Rc<File>,
    entries: Rc<BTreeMap<String, Lies>>,
}

impl Archive {
    /// In this file, or on this disk.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn open(file: File) -> Result<Self, Fault> {
        // A disk has no length of its own in its metadata.
        let size = (&file).seek(SeekFrom::End(0))?;
        let entries = entries(size, |at, header| file.read_exact_at(header, at))?;
        Ok(Self { file: Rc::new(file), entries: Rc::new(entries) })
    }

    /// The text of its list.
    ///
    /// # Errors
    /// There is none, it is too long, or can not be read.
    pub fn list(&self) -> Result<Vec<u8>, Fault> {
        let lies = self.entries.get(LIST).filter(|(_, length)| *length <= LIST_MAX);
        let (at, length) = *lies.ok_or(Fault::Form("does not say what it is for"))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// What it has, by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

/// A file of it.
#[derive(Debug)]
pub struct Opened {
    file: Rc<File>,
    at: u64,
    left: u64,
    chunk: Box<[u8]>,
}

/// What a place is called in an archive.
pub fn named(place: Place<'_>) -> String {
    match place {
        Place::Metadata(name) => format!("metadata/{name}"),
        Place::Target(path) => format!("targets/{path}"),
    }
}

impl Source for Archive {
    type Body = Opened;

    fn open(
        &mut self,
        place: Place<'_>,
        from: u64,
    ) -> impl Future<Output = Result<Option<Opened>, SourceError>> {
        ready(Ok(self.entries.get(&named(place)).map(|(at, length)| Opened {
            file: self.file.clone(),
            at: at.saturating_add(from.min(*length)),
            left: length.saturating_sub(from),
            chunk: vec![0; CHUNK].into(),
        })))
    }
}

impl Body for Opened {
    fn chunk(&mut self) -> impl Future<Output = Result<Option<&[u8]>, SourceError>> {
        let part = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        let read = match self.chunk.get_mut(..part) {
            Some(chunk) => self.file.read_exact_at(chunk, self.at),
            None => Ok(()),
        };
        self.at += part as u64;
        self.left -= part as u64;
        ready(read.map(|()| self.chunk.get(..part).filter(|chunk| !chunk.is_empty())).map_err(Into::into))
    }
}

/// Writes an archive, on the machine that makes it.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// With this list.
    ///
    /// # Errors
    /// It can not be written.
    pub fn new(out: W, list: &[u8]) -> io::Result<Self> {
        let mut writer = Self { out };
        writer.add(LIST, list.len() as u64, list)?;
        Ok(writer)
    }

    /// A file of so many bytes.
    ///
    /// # Errors
    /// Its name is too long or can not be one, it has not so many bytes, or it can not be written.
    pub fn add(&mut self, name: &str, length: u64, mut content: impl Read) -> io::Result<()> {
        let header =
            header(name, length).ok_or_else(|| io::Error::other(format!("{name} can not be archived")))?;
        self.out.write_all(&header)?;
        let copied = io::copy(&mut content.by_ref().take(length), &mut self.out)?;
        if copied != length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{name} is shorter than it was"),
            ));
        }
        let rest = usize::try_from(length.next_multiple_of(HEADER as u64) - length).unwrap_or_default();
        self.out.write_all(&[0; HEADER][..rest])
    }

    /// Its end.
    ///
    /// # Errors
    /// It can not be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * HEADER])?;
        Ok(self.out)
    }
}

fn header(name: &str, length: u64) -> Option<[u8; HEADER]> {
    let (prefix, last) = match name.len() <= NAME.1 {
        true => ("", name),
        false => {
            let from = name.len().checked_sub(NAME.1 + 1)?;
            let slash = from + name.get(from..)?.find('/')?;
            (name.get(..slash)?, name.get(slash + 1..)?)
        }
    };
    let mut header = [0; HEADER];
    let fields: [(usize, usize, &[u8]); 8] = [
        (NAME.0, NAME.1, last.as_bytes()),
        (100, 8, b"0000644"),
        (108, 8, b"0000000"),
        (116, 8, b"0000000"),
        (136, 12, b"00000000000"),
        (KIND, 1, b"0"),
        (257, 8, MAGIC),
        (PREFIX.0, PREFIX.1, prefix.as_bytes()),
    ];
    for (at, room, bytes) in fields {
        header.get_mut(at..at + room)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
    }
    header.get_mut(SIZE.0..SIZE.0 + 11)?.copy_from_slice(format!("{length:011o}").get(..11)?.as_bytes());
    let sum = format!("{:06o}\0 ", sum(&header));
    header.get_mut(SUM.0..SUM.0 + SUM.1)?.copy_from_slice(sum.as_bytes());
    // As it is read: that says what names there are.
    (length < 1 << 33 && entry(&header).ok().flatten()? == (name.to_owned(), length)).then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), b"{}").unwrap();
        for (name, bytes) in files {
            writer.add(name, bytes.len() as u64, *bytes).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<BTreeMap<String, Lies>, Fault> {
        entries(bytes.len() as u64, |at, header| {
            header.copy_from_slice(&bytes[at as usize..at as usize + HEADER]);
            Ok(())
        })
    }

    #[test]
    fn archive_is_read_by_us_and_by_tar() {
        let long = format!("targets/blobs/{}/{}", "a".repeat(90), "b".repeat(64));
        let bytes = archive(&[("metadata/1.root.json", b"root"), (&long, &[7; 1000])]);
        let all = read(&bytes).unwrap();
        assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), [LIST, "metadata/1.root.json", &long]);
        let (at, length) = all[long.as_str()];
        assert!(bytes[at as usize..(at + length) as usize].iter().all(|byte| *byte == 7));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let said = std::process::Command::new("tar").arg("-tf").arg(file.path()).output().unwrap();
        assert!(said.status.success());
        assert_eq!(
            String::from_utf8(said.stdout).unwrap(),
            format!("{LIST}\nmetadata/1.root.json\n{long}\n")
        );
    }

    #[test]
    fn what_no_archive_of_ours_has_is_refused() {
        let good = archive(&[("metadata/a", b"a")]);
        assert!(read(&good[HEADER * 2..]).is_err(), "without its list first");
        assert!(read(&archive(&[("metadata/a", b"a"), ("metadata/a", b"b")])).is_err(), "a name twice");
        for cut in (0..good.len() - 2 * HEADER).step_by(97) {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        // A link, with the sum put right.
        let mut linked = good.clone();
        linked[2 * HEADER + KIND] = b'2';
        let header: &mut [u8; HEADER] = (&mut linked[2 * HEADER..3 * HEADER]).try_into().unwrap();
        let sum = format!("{:06o}\0 ", sum(header));
        header[SUM.0..SUM.0 + SUM.1].copy_from_slice(sum.as_bytes());
        assert!(read(&linked).is_err(), "a link");
        assert!(header_of_long_names_is_none());
    }

    fn header_of_long_names_is_none() -> bool {
        header(&"a".repeat(101), 0).is_none() && header("", 0).is_none() && header("a b", 0).is_none()
    }

    proptest! {
        #[test]
        fn whatever_is_read_lies_within_the_archive(
            changes in proptest::collection::vec((0_usize..3072, any::<u8>()), 0..6), any in proptest::collection::vec(any::<u8>(), 0..2000)
        ) {
            let mut bytes = archive(&[("metadata/a", b"a"), ("targets/b", &[1; 600])]);
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            for bytes in [bytes, any] {
                for (at, length) in read(&bytes).into_iter().flatten().map(|(_, lies)| lies) {
                    prop_assert!(at + length <= bytes.len() as u64);
                }
            }
        }
    }
}
