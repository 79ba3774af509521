//! The packages' files: each written whole and on the disk before the ledger names it.
//!
//! Whoever fetches an image has its file open for writing, before and after it is installed. That is all it has: the image is
//! read through dm-verity alone, which holds each block against the root hash at each read, so that a block that was changed
//! after the image was checked is an error of that read, and no other content. (A lease or a seal would end the writer as
//! well; both cost a copy or another way to fail, and guard against nothing but a denial of service by the one process that
//! can have every app removed anyway.) How much it can make the file hold is bounded by the quota of all packages together.
//!
//! What a cut can leave: a directory or an incoming file that the ledger does not name. Nothing reads one, and
//! [`Packages::clean`] removes it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;
use policy::{AppId, Version};
use sys::quota;

use super::ledger::{self, Ledger, Package, TOGETHER_MAX};
use crate::offered::Offered;
use crate::storage::Quota;
use crate::whole;

/// The project whose quota bounds all packages: no app has it, whose projects are their uids.
const PROJECT: u32 = 999;
/// Files and directories of all packages: five for each, twice as many apps as there can be, and the incoming ones.
const INODES: u64 = 4096;
/// Longest image, bytes: what a package may hold, and its hashes.
pub const IMAGE_MAX: u64 = (4 << 30) / 64 * 65;
/// What is left to everybody else when an image is to come, as a part of the file system, and at most.
const LEFT_PART: u64 = 16;
const LEFT_MAX: u64 = 64 << 20;

/// Why there are no packages.
#[derive(Debug)]
pub enum PackagesError {
    /// Something failed; what.
    Io(&'static str, io::Error),
    /// There are packages and no ledger that says which of them count.
    Lost,
    /// The ledger does not check out; where and why.
    Corrupt(String),
}

impl fmt::Display for PackagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, e) => write!(f, "can not {what}: {e}"),
            Self::Lost => f.write_str("the ledger of installed packages is missing although there are some"),
            Self::Corrupt(why) => write!(f, "the ledger of installed packages is corrupt: {why}"),
        }
    }
}

impl std::error::Error for PackagesError {}

fn failed(what: &'static str) -> impl Fn(io::Error) -> PackagesError {
    move |e| PackagesError::Io(what, e)
}

/// The packages of a device, and the ledger as it is on the disk.
#[derive(Debug)]
pub struct Packages {
    dir: PathBuf,
    file: PathBuf,
    ledger: Ledger,
}

/// An image that is being fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incoming {
    /// Whose.
    pub id: AppId,
    /// Which.
    pub version: Version,
    /// How long it is once it is there, bytes.
    pub length: u64,
}

impl Incoming {
    fn name(&self) -> String {
        let Self { id, version, length } = self;
        format!("{id}@{version}@{length}")
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('@');
        let id = parts.next()?.parse().ok()?;
        let (version, length) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let incoming = Self { id, version, length };
        (incoming.name() == name).then_some(incoming)
    }
}

impl Packages {
    /// Those below `data`. Nothing is removed or made.
    pub fn open(data: &Path) -> Result<Self, PackagesError> {
        let (dir, file) = (data.join("gabion/packages"), data.join("gabion/installed"));
        let ledger = match read(&file) {
            Ok(text) => Ledger::parse(&text).map_err(PackagesError::Corrupt)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let some = numbered(&dir).map_err(failed("read the packages"))?;
                if !some.is_empty() {
                    return Err(PackagesError::Lost);
                }
                Ledger::default()
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                return Err(PackagesError::Corrupt("it is no text".to_owned()));
            }
            Err(e) => return Err(PackagesError::Io("read the ledger of installed packages", e)),
        };
        Ok(Self { dir, file, ledger })
    }

    /// The ledger, as it is on the disk.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The directory of the package of `id` that counts.
    pub fn directory(&self, id: &str) -> Option<PathBuf> {
        self.ledger.package(id).map(|package| self.numbered(id, package.number))
    }

    fn numbered(&self, id: &str, number: u64) -> PathBuf {
        self.dir.join(id).join(number.to_string())
    }

    /// Makes `ledger` the one that counts, on the disk for good.
    pub fn change(&mut self, ledger: Ledger) -> io::Result<()> {
        let written = whole::replace(&self.file, ledger.to_string().as_bytes());
        if written.is_err() {
            // It may be there all the same, where what failed came after: what is there counts, or nothing is known.
            match read(&self.file).ok().and_then(|text| Ledger::parse(&text).ok()) {
                Some(there) => self.ledger = there,
                None => return written,
            }
            return if self.ledger == ledger { Ok(()) } else { written };
        }
        self.ledger = ledger;
        Ok(())
    }

    /// Makes the place for packages, bounded together to three quarters of the file system; and the first ledger, before there can
    /// be a package: a cut while the first is laid would leave one without any, as if the ledger had been lost.
    pub fn ready(&self, bounded: Quota) -> io::Result<()> {
        if !self.file.try_exists()? {
            whole::replace(&self.file, self.ledger.to_string().as_bytes())?;
        }
        for dir in [&self.dir, &self.dir.join("incoming"), &self.uploads()] {
            match DirBuilder::new().mode(0o700).create(dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            if bounded == Quota::Enforced {
                quota::assign(File::open(dir)?.as_fd(), PROJECT)?;
            }
        }
        if bounded == Quota::Enforced {
            let dir = File::open(&self.dir)?;
            let bytes = size(&dir)?.bytes / 4 * 3;
            quota::set_limit(dir.as_fd(), PROJECT, bytes, INODES)?;
        }
        File::open(&self.dir)?.sync_all()
    }

    /// The file for an image that is to come: the one that was begun for just this, or a new one, with its room taken. The
    /// error is for people.
    pub fn incoming(&self, wanted: &Incoming) -> Result<File, String> {
        let words = |e: io::Error| format!("no file for the image: {e}");
        if wanted.length == 0 || wanted.length > IMAGE_MAX {
            return Err(format!("an image of {} bytes is none", wanted.length));
        }
        let there = self.incoming_files().map_err(words)?;
        for other in there.iter().filter(|other| other.id == wanted.id && *other != wanted) {
            fs::remove_file(self.incoming_path(other)).map_err(words)?;
        }
        let others = there.iter().filter(|other| other.id != wanted.id).count();
        if others >= TOGETHER_MAX {
            return Err(format!("images of {others} other apps were begun"));
        }
        let path = self.incoming_path(wanted);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(words)?;
        let reserved = self.reserve(&file, wanted.length);
        if reserved.is_err() && file.metadata().is_ok_and(|meta| meta.len() == 0) {
            // Nothing is lost with it.
            let _ = fs::remove_file(&path);
        }
        reserved.map(|()| file)
    }

    /// Takes the room for `length` bytes on the disk. The length of the file stays: it says how much is there.
    fn reserve(&self, file: &File, length: u64) -> Result<(), String> {
        let words = |e: io::Error| format!("no room for the image: {e}");
        let has = file.metadata().map_err(words)?;
        if has.len() > length {
            // Whoever wrote it wrote too much.
            file.set_len(0).map_err(words)?;
        }
        let missing = length.saturating_sub(has.blocks().saturating_mul(512));
        let lacks = size(file).map_err(words)?.lacks(missing);
        if lacks > 0 {
            return Err(format!("{lacks} bytes are missing on the data partition"));
        }
        let length = i64::try_from(length).map_err(|e| e.to_string())?;
        fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length).map_err(|e| words(e.into()))
    }

    fn uploads(&self) -> PathBuf {
        self.dir.join("uploads")
    }

    /// A file for a package of `length` bytes that a developer is going to send, with its room taken. Another one of this number
    /// is gone. The error is for people.
    pub fn upload(&self, number: u32, length: u64) -> Result<File, String> {
        if length == 0 || length > IMAGE_MAX {
            return Err(format!("a package of {length} bytes is none"));
        }
        let path = self.uploads().join(number.to_string());
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|e| format!("no file for the package: {e}"))?;
        let reserved = self.reserve(&file, length);
        if reserved.is_err() {
            self.drop_upload(number);
        }
        reserved.map(|()| file)
    }

    /// What was sent, for reading; with the descriptor it is gone.
    pub fn sent(&self, number: u32) -> io::Result<File> {
        let file = File::open(self.uploads().join(number.to_string()));
        self.drop_upload(number);
        file
    }

    /// Removes what was sent, or a part of it. What can not be removed goes at the next start.
    pub fn drop_upload(&self, number: u32) {
        let _ = fs::remove_file(self.uploads().join(number.to_string()));
    }

    /// Removes all that was sent.
    pub fn drop_uploads(&self) -> io::Result<()> {
        for name in names(&self.uploads())? {
            fs::remove_file(self.uploads().join(name))?;
        }
        Ok(())
    }

    fn incoming_path(&self, incoming: &Incoming) -> PathBuf {
        self.dir.join("incoming").join(incoming.name())
    }

    fn incoming_files(&self) -> io::Result<Vec<Incoming>> {
        let names = names(&self.dir.join("incoming"))?;
        Ok(names.iter().filter_map(|name| Incoming::parse(name.to_str()?)).collect())
    }

    /// The incoming image of the app `id` with this version, if all of it is there.
    pub fn arrived(&self, id: &AppId, version: Version) -> io::Result<Incoming> {
        let there = self.incoming_files()?;
        let found = there.into_iter().find(|incoming| incoming.id == *id && incoming.version == version);
        let found = found.ok_or_else(|| io::Error::other("its image was not fetched"))?;
        let has = fs::metadata(self.incoming_path(&found))?.len();
        if has == found.length {
            Ok(found)
        } else {
            Err(io::Error::other(format!("{has} of {} bytes of its image are there", found.length)))
        }
    }

    /// Removes the incoming image of the app `id` with this version: it is not what it should be.
    pub fn drop_arrived(&self, id: &AppId, version: Version) -> io::Result<()> {
        let there = self.incoming_files()?;
        let mut bad = there.iter().filter(|incoming| incoming.id == *id && incoming.version == version);
        bad.try_for_each(|incoming| fs::remove_file(self.incoming_path(incoming)))
    }

    /// Removes incoming images of all but these.
    pub fn retain_incoming(&self, wanted: &[(AppId, Version)]) -> io::Result<()> {
        let there = self.incoming_files()?;
        let is_wanted = |incoming: &&Incoming| {
            wanted.iter().any(|(id, version)| (id, version) == (&incoming.id, &incoming.version))
        };
        let mut others = there.iter().filter(|incoming| !is_wanted(incoming));
        others.try_for_each(|incoming| fs::remove_file(self.incoming_path(incoming)))
    }

    /// Makes the directory `number` of an app: the image that arrived, its hashes, its manifest. On the disk for good, and
    /// named by nobody yet.
    pub fn lay(&self, number: u64, image: &Incoming, manifest: &[u8], verity: &str) -> io::Result<PathBuf> {
        let dir = self.fresh(image.id.as_str(), number)?;
        let arrived = self.incoming_path(image);
        File::open(&arrived)?.sync_all()?;
        fs::hard_link(&arrived, dir.join("root.img"))?;
        self.lay_beside(&image.id, &dir, manifest, verity)
    }

    /// The same of what is in a package file: its image with the hash tree right behind it.
    pub fn lay_offered(
        &self,
        number: u64,
        id: &AppId,
        file: &File,
        offered: &Offered,
    ) -> io::Result<PathBuf> {
        let dir = self.fresh(id.as_str(), number)?;
        let image = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join("root.img"))?;
        for (at, blocks) in offered.parts {
            copy(file, at, &image, blocks.saturating_mul(4096))?;
        }
        image.sync_all()?;
        self.lay_beside(id, &dir, &offered.manifest, &offered.verity())
    }

    /// An empty directory for the package `number` of the app `id`, in place of what an attempt before this one left.
    fn fresh(&self, id: &str, number: u64) -> io::Result<PathBuf> {
        let dir = self.numbered(id, number);
        remove_tree(&dir)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(dir)
    }

    fn lay_beside(&self, id: &AppId, dir: &Path, manifest: &[u8], verity: &str) -> io::Result<PathBuf> {
        for (name, bytes) in [("manifest.toml", manifest), ("root.verity", verity.as_bytes())] {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(name))?;
            file.write_all(bytes).and_then(|()| file.sync_all())?;
        }
        let app = self.dir.join(id.as_str());
        [dir, &app, &self.dir].into_iter().try_for_each(|dir| File::open(dir)?.sync_all())?;
        Ok(dir.to_owned())
    }

    /// Removes all that the ledger does not name: packages, and incoming images of what is installed by now.
    pub fn clean(&self) -> io::Result<()> {
        for (id, number) in numbered(&self.dir)? {
            if !self.ledger.names(&id, number) {
                remove_tree(&self.numbered(&id, number))?;
                // It may have others.
                let _ = fs::remove_dir(self.dir.join(&id));
            }
        }
        for incoming in self.incoming_files()? {
            let installed = self.ledger.package(incoming.id.as_str());
            if installed.is_some_and(|Package { version, .. }| version == incoming.version) {
                fs::remove_file(self.incoming_path(&incoming))?;
            }
        }
        Ok(())
    }
}

/// Appends `bytes` of `from`, from `at` on, to `to`.
fn copy(from: &File, at: u64, mut to: &File, bytes: u64) -> io::Result<()> {
    let mut from = from;
    from.seek(io::SeekFrom::Start(at))?;
    match io::copy(&mut from.take(bytes), &mut to)? {
        copied if copied == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(ledger::MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The directories of packages: app and number. What is called otherwise is left alone.
fn numbered(dir: &Path) -> io::Result<BTreeSet<(String, u64)>> {
    let mut all = BTreeSet::new();
    for app in names(dir)? {
        let Some(id) = app.to_str().filter(|name| name.parse::<AppId>().is_ok()) else { continue };
        let numbers = names(&dir.join(id))?;
        let plain = |name: &OsString| name.to_str()?.parse::<u64>().ok();
        all.extend(numbers.iter().filter_map(plain).map(|number| (id.to_owned(), number)));
    }
    Ok(all)
}

fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name())).collect(),
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Of a file system, bytes.
struct Size {
    bytes: u64,
    free: u64,
}

impl Size {
    /// How many bytes are missing for `wanted` more, so that something is left to everybody else.
    fn lacks(&self, wanted: u64) -> u64 {
        let left = (self.bytes / LEFT_PART).min(LEFT_MAX);
        if wanted == 0 { 0 } else { wanted.saturating_add(left).saturating_sub(self.free) }
    }
}

fn size(file: &File) -> io::Result<Size> {
    let stat = fstatvfs(file)?;
    let unit = stat.fragment_size();
    Ok(Size { bytes: stat.blocks().saturating_mul(unit), free: stat.blocks_available().saturating_mul(unit) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const A: &str = "com.example.a";

    fn data() -> (tempfile::TempDir, Packages) {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("gabion")).unwrap();
        let packages = Packages::open(data.path()).unwrap();
        packages.ready(Quota::NotEnforced).unwrap();
        (data, packages)
    }

    fn wanted(id: &str, patch: u32) -> Incoming {
        Incoming { id: id.parse().unwrap(), version: Version { major: 1, minor: 0, patch }, length: 8192 }
    }

    fn fetched(packages: &Packages, wanted: &Incoming) {
        packages.incoming(wanted).unwrap().write_all_at(&[wanted.version.patch as u8; 8192], 0).unwrap();
    }

    /// Fetches and lays the version 1.0.`patch` of each app; gives the ledger in which they are installed.
    fn laid(packages: &Packages, ids: &[&str], patch: u32) -> Ledger {
        let mut together = Vec::new();
        for (id, number) in ids.iter().zip(packages.ledger().next()..) {
            let wanted = wanted(id, patch);
            fetched(packages, &wanted);
            packages.lay(number, &packages.arrived(&wanted.id, wanted.version).unwrap(), b"m", "v").unwrap();
            together.push((*id, wanted.version));
        }
        packages.ledger().switched(&together, 60).unwrap()
    }

    /// What a device finds after a cut: which apps are installed, each with all of its files.
    fn found(data: &Path) -> Vec<(String, Package)> {
        let packages = Packages::open(data).unwrap();
        packages.clean().unwrap();
        for (id, package) in packages.ledger().apps() {
            let dir = packages.directory(id).unwrap();
            assert_eq!(fs::read(dir.join("root.img")).unwrap(), [package.version.patch as u8; 8192]);
            assert!(dir.join("manifest.toml").exists() && dir.join("root.verity").exists());
        }
        packages.ledger().apps().map(|(id, package)| (id.to_owned(), package)).collect()
    }

    #[test]
    fn incoming_file_is_the_same_until_another_version_is_asked_for() {
        let (data, packages) = data();
        let first = packages.incoming(&wanted(A, 1)).unwrap();
        assert_eq!(first.metadata().unwrap().len(), 0);
        assert!(first.metadata().unwrap().blocks() * 512 >= 8192, "its room is taken");
        first.write_all_at(b"begun", 0).unwrap();
        // A restart between.
        let packages = Packages::open(data.path()).map(|_| packages).unwrap();
        packages.clean().unwrap();
        assert_eq!(packages.incoming(&wanted(A, 1)).unwrap().metadata().unwrap().len(), 5);
        let why = packages.arrived(&wanted(A, 1).id, wanted(A, 1).version).unwrap_err().to_string();
        assert_eq!(why, "5 of 8192 bytes of its image are there");
        assert_eq!(packages.incoming(&wanted(A, 2)).unwrap().metadata().unwrap().len(), 0);
        assert_eq!(packages.incoming_files().unwrap(), [wanted(A, 2)]);
        let longer = Incoming { length: 4096, ..wanted(A, 2) };
        packages.incoming(&longer).unwrap();
        assert_eq!(packages.incoming_files().unwrap(), [longer]);
    }

    #[test]
    fn incoming_image_without_room_is_refused_with_what_is_missing() {
        let (_data, packages) = data();
        let disk = Size { bytes: 1600 << 20, free: 100 << 20 };
        assert_eq!(
            [0, 36 << 20, 37 << 20, u64::MAX].map(|n| disk.lacks(n)),
            [0, 0, 1 << 20, u64::MAX - (100 << 20)]
        );
        assert_eq!(Size { bytes: 16 << 20, free: 1 << 20 }.lacks(1), 1);
        for length in [0, IMAGE_MAX + 1] {
            assert!(packages.incoming(&Incoming { length, ..wanted(A, 1) }).is_err());
        }
        assert_eq!(packages.incoming_files().unwrap(), []);
        for n in 0..TOGETHER_MAX {
            packages.incoming(&wanted(&format!("com.example.a{n}"), 1)).unwrap();
        }
        assert!(packages.incoming(&wanted(A, 1)).unwrap_err().contains("64 other apps"));
        // Nobody wants them any more, but for one.
        let stays = wanted("com.example.a7", 1);
        packages
            .retain_incoming(&[(stays.id.clone(), stays.version), (A.parse().unwrap(), stays.version)])
            .unwrap();
        assert_eq!(packages.incoming_files().unwrap(), [stays]);
        packages.incoming(&wanted(A, 1)).unwrap();
    }

    #[test]
    fn ledger_missing_or_damaged_removes_nothing() {
        let (data, mut packages) = data();
        let after = laid(&packages, &[A], 1);
        packages.change(after.kept()).unwrap();
        let (file, dir) = (data.path().join("gabion/installed"), packages.directory(A).unwrap());
        let text = fs::read(&file).unwrap();
        for end in 0..text.len() {
            fs::write(&file, &text[..end]).unwrap();
            assert!(matches!(Packages::open(data.path()), Err(PackagesError::Corrupt(_))), "cut at {end}");
        }
        fs::write(&file, [0xff; 10]).unwrap();
        assert!(matches!(Packages::open(data.path()), Err(PackagesError::Corrupt(_))));
        fs::remove_file(&file).unwrap();
        assert!(matches!(Packages::open(data.path()), Err(PackagesError::Lost)));
        assert!(dir.join("root.img").exists());
        fs::write(&file, text).unwrap();
        assert_eq!(found(data.path()).len(), 1);
    }

    #[test]
    fn first_installation_cut_before_its_ledger_leaves_nothing_installed() {
        let (data, packages) = data();
        laid(&packages, &[A], 1);
        assert_eq!(found(data.path()), []);
        assert!(!packages.numbered(A, 0).exists());
    }

    /// Between any two of its writes, an installation of two apps over one that is there leaves all old or all new.
    #[test]
    fn installation_cut_anywhere_leaves_all_old_or_all_new() {
        const B: &str = "com.example.b";
        let lay = ["", "root.img", "manifest.toml", "root.verity"];
        // Of each app the files that were written, then: half of the new ledger beside, the new ledger in place.
        for cut in 0..=2 * lay.len() + 1 {
            let (data, mut packages) = data();
            let first = laid(&packages, &[A], 1);
            packages.change(first.kept()).unwrap();
            packages.clean().unwrap();
            let before = found(data.path());
            let after = laid(&packages, &[A, B], 2);
            for (n, id) in [A, B].into_iter().enumerate() {
                let dir = packages.numbered(id, after.package(id).unwrap().number);
                let written = cut.saturating_sub(n * lay.len()).min(lay.len());
                lay[written.max(1)..].iter().for_each(|name| fs::remove_file(dir.join(name)).unwrap());
                if written == 0 {
                    fs::remove_dir(&dir).unwrap();
                }
            }
            let new = data.path().join("gabion/installed.new");
            match cut.checked_sub(2 * lay.len()) {
                None => assert_eq!(found(data.path()), before, "cut {cut}"),
                Some(0) => {
                    fs::write(&new, &after.to_string()[..20]).unwrap();
                    assert_eq!(found(data.path()), before, "cut {cut}");
                }
                Some(_) => {
                    packages.change(after.clone()).unwrap();
                    let now: Vec<_> = after.apps().map(|(id, package)| (id.to_owned(), package)).collect();
                    assert_eq!(found(data.path()), now, "cut {cut}");
                    // What it goes back to is there until it is settled.
                    let mut packages = Packages::open(data.path()).unwrap();
                    packages.change(packages.ledger().back("why")).unwrap();
                    assert_eq!(found(data.path()), before, "cut {cut}");
                }
            }
        }
    }
}
