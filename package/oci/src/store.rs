//! Where an image's files are: a directory, or a tar archive (as it is, or compressed), by their names in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::Error;

/// Files in an archive, and the longest text read into memory, bytes.
const FILES_MAX: usize = 100_000;
const TEXT_MAX: u64 = 8 << 20;
/// An archive that was compressed is unpacked beside; no longer than this.
const ARCHIVE_MAX: u64 = 16 << 30;

/// The files.
pub struct Store {
    kind: Kind,
}

enum Kind {
    Directory(PathBuf),
    /// Where in the archive each file begins, and its length.
    Archive(PathBuf, BTreeMap<String, (u64, u64)>),
}

impl Store {
    /// Opens an image's directory or archive; `place` is for what has to be unpacked.
    ///
    /// # Errors
    /// It is neither; the disk's.
    pub fn open(source: &Path, place: &Path) -> Result<Self, Error> {
        if source.is_dir() {
            return Ok(Self { kind: Kind::Directory(source.to_owned()) });
        }
        let path = plain(source, place)?;
        let file = File::open(&path).map_err(|e| Error::io(path.display().to_string(), e))?;
        let mut files = BTreeMap::new();
        let not = |e: io::Error| Error::NotAnImage(e.to_string());
        for entry in tar::Archive::new(file).entries_with_seek().map_err(not)? {
            let entry = entry.map_err(not)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            if files.len() >= FILES_MAX {
                return Err(Error::TooLarge("too many files in its archive"));
            }
            let name = entry.path().map_err(not)?.to_string_lossy().trim_start_matches("./").to_owned();
            files.insert(name, (entry.raw_file_position(), entry.size()));
        }
        Ok(Self { kind: Kind::Archive(path, files) })
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        match &self.kind {
            Kind::Directory(root) => below(root, name).is_some_and(|path| path.is_file()),
            Kind::Archive(_, files) => files.contains_key(name),
        }
    }

    /// A file's bytes, as they come.
    ///
    /// # Errors
    /// There is none; the disk's.
    pub fn read(&self, name: &str) -> Result<Box<dyn Read>, Error> {
        let missing = || Error::Damaged(format!("{name} is missing"));
        match &self.kind {
            Kind::Directory(root) => {
                let path = below(root, name).filter(|path| path.is_file()).ok_or_else(missing)?;
                Ok(Box::new(File::open(path).map_err(|e| Error::io(name, e))?))
            }
            Kind::Archive(path, files) => {
                let (at, length) = files.get(name).ok_or_else(missing)?;
                let mut file = File::open(path).map_err(|e| Error::io(name, e))?;
                file.seek(SeekFrom::Start(*at)).map_err(|e| Error::io(name, e))?;
                Ok(Box::new(file.take(*length)))
            }
        }
    }

    /// A file that is a text.
    ///
    /// # Errors
    /// As [`Store::read`]; it is longer than texts are.
    pub fn text(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        self.read(name)?.take(TEXT_MAX + 1).read_to_end(&mut text).map_err(|e| Error::io(name, e))?;
        if text.len() as u64 > TEXT_MAX {
            return Err(Error::TooLarge("a description that is too long"));
        }
        Ok(text)
    }
}

/// A file of the directory, if `name` stays below it.
fn below(root: &Path, name: &str) -> Option<PathBuf> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| root.join(name))
}

/// The archive itself, or what comes out of it when it is compressed.
fn plain(source: &Path, place: &Path) -> Result<PathBuf, Error> {
    let failed = |e| Error::io(source.display().to_string(), e);
    let mut file = File::open(source).map_err(failed)?;
    let mut magic = [0; 4];
    let length = file.read(&mut magic).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let begins = magic.get(..length).unwrap_or_default();
    if matches!(begins, [b'P', b'K', ..]) {
        return Err(Error::NotAnImage("it is a zip file".to_owned()));
    }
    let unpacked = unpacked(begins, file).map_err(failed)?;
    let Some(unpacked) = unpacked else { return Ok(source.to_owned()) };
    let path = place.join("archive");
    let mut to = File::create(&path).map_err(failed)?;
    let copied = io::copy(&mut unpacked.take(ARCHIVE_MAX), &mut to).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Error::NotAnImage(format!("it does not decompress: {e}"))
        }
        _ => failed(e),
    })?;
    if copied == ARCHIVE_MAX {
        return Err(Error::TooLarge("an archive that is too long"));
    }
    Ok(path)
}

/// What comes out of a compressed file that begins like this; none if it is not compressed.
fn unpacked(begins: &[u8], file: impl Read + 'static) -> io::Result<Option<Box<dyn Read>>> {
    Ok(match begins {
        [0x1f, 0x8b, ..] => Some(Box::new(MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(Box::new(zstd::Decoder::new(file)?)),
        _ => None,
    })
}

/// The same for what can be read once: the beginning is put back.
pub(crate) fn decompressed(mut from: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut begins = Vec::new();
    from.by_ref().take(4).read_to_end(&mut begins)?;
    let whole = io::Cursor::new(begins.clone()).chain(from);
    if !matches!(begins[..], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(whole));
    }
    unpacked(&begins, whole)?.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
