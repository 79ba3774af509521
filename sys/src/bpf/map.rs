//! Tables: one key, one value.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{Command, NAME_BYTES, call};
#[cfg(feature = "builder")]
use super::{call_for_fd, name};

/// What a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A hash table that takes memory as it fills.
    Hash,
    /// A hash table that forgets what was not used for longest.
    RecentHash,
    /// A ring that the kernel writes and one process reads; `entries` is its bytes, a power of two of pages.
    Ring,
}

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What it is.
    pub kind: Kind,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// How many entries it has at most.
    pub entries: u32,
}

/// What to do about a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Write {
    /// Write either way.
    Any = 0,
    /// Fail with `EEXIST`.
    New = 1,
    /// Fail with `ENOENT` if it is not there.
    Present = 2,
}

/// A table, by its descriptor.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    form: Form,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    after: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    fd: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    fd: u32,
    bytes: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
}

const HASH: u32 = 1;
const RECENT_HASH: u32 = 9;
const RING: u32 = 27;
/// `BPF_F_NO_PREALLOC`.
const FILL_LAZILY: u32 = 1;
/// Entries that one call reads.
const BATCH: u32 = 256;

impl Map {
    /// Makes an empty table.
    ///
    /// # Errors
    /// Those of `bpf(2)`: `EPERM` without the capability.
    #[cfg(feature = "builder")]
    pub fn new(called: &str, form: Form) -> io::Result<Self> {
        #[repr(C)]
        #[derive(Default)]
        struct Create {
            kind: u32,
            key: u32,
            value: u32,
            entries: u32,
            flags: u32,
            inner: u32,
            node: u32,
            name: [u8; NAME_BYTES],
        }
        let (kind, flags) = match form.kind {
            Kind::Hash => (HASH, FILL_LAZILY),
            Kind::RecentHash => (RECENT_HASH, 0),
            Kind::Ring => (RING, 0),
        };
        let (key, value, entries) = (form.key, form.value, form.entries);
        let mut create = Create { kind, key, value, entries, flags, name: name(called), ..Create::default() };
        // SAFETY: the attributes of BPF_MAP_CREATE, without addresses; it makes a descriptor.
        let fd = unsafe { call_for_fd(Command::MapCreate, &mut create)? };
        Ok(Self { fd, form })
    }

    /// The table with this number.
    ///
    /// # Errors
    /// Those of `bpf(2)`; one whose kind is not known here.
    #[cfg(feature = "builder")]
    pub fn by_id(id: u32) -> io::Result<Self> {
        let mut attributes = [id, 0, 0];
        // SAFETY: the attributes of BPF_MAP_GET_FD_BY_ID, without addresses; it makes a descriptor.
        Self::open(unsafe { call_for_fd(Command::MapById, &mut attributes)? })
    }

    /// The table behind a descriptor.
    ///
    /// # Errors
    /// Those of `bpf(2)`; a descriptor of something else, or a table whose kind is not known here.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let mut info = Info::default();
        let mut query = Query { fd: number(&fd), bytes: length::<Info>(), info: address_mut(&mut info) };
        // SAFETY: the kernel writes at most as many bytes into `info` as it has.
        unsafe { call(Command::Info, &mut query)? };
        // A program or something else behind the descriptor answers with a shorter or a different structure; a
        // descriptor that is no table's is refused by its kind or, at the latest, by the first use.
        let kind = match info.kind {
            HASH => Kind::Hash,
            RECENT_HASH => Kind::RecentHash,
            RING => Kind::Ring,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not one of our tables")),
        };
        Ok(Self { fd, form: Form { kind, key: info.key, value: info.value, entries: info.entries } })
    }

    /// Its form.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The value of `key`, `None` if there is none.
    ///
    /// # Errors
    /// Those of `bpf(2)`; sizes that are not the table's.
    pub fn lookup<const N: usize>(&self, key: &[u8]) -> io::Result<Option<[u8; N]>> {
        let mut value = [0; N];
        self.fits(key.len(), N)?;
        let mut element = self.element(key);
        element.value = value.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: key and value are as long as the table's, as was checked.
        found(unsafe { call(Command::MapLookup, &mut element) }).map(|found| found.then_some(value))
    }

    /// Writes one entry, in one step.
    ///
    /// # Errors
    /// Those of `bpf(2)`: `E2BIG` when the table is full; sizes that are not the table's.
    pub fn update(&self, key: &[u8], value: &[u8], write: Write) -> io::Result<()> {
        self.fits(key.len(), value.len())?;
        let mut element = self.element(key);
        element.value = value.as_ptr().expose_provenance() as u64;
        element.flags = write as u64;
        // SAFETY: key and value are as long as the table's, as was checked, and only read.
        unsafe { call(Command::MapUpdate, &mut element) }.map(|_| ())
    }

    /// Removes one entry; whether it was there.
    ///
    /// # Errors
    /// Those of `bpf(2)`; a size that is not the table's.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.fits(key.len(), self.form.value as usize)?;
        // SAFETY: the key is as long as the table's, as was checked, and only read.
        found(unsafe { call(Command::MapDelete, &mut self.element(key)) })
    }

    /// Every entry, in no order. What others write meanwhile may be among them or not.
    ///
    /// # Errors
    /// Those of `bpf(2)`; sizes that are not the table's.
    pub fn entries<const K: usize, const V: usize>(&self) -> io::Result<Vec<([u8; K], [u8; V])>> {
        self.fits(K, V)?;
        let mut all = Vec::new();
        let mut room = BATCH;
        let mut place = [0_u32; 8];
        let mut begun = false;
        loop {
            let mut keys = vec![[0; K]; room as usize];
            let mut values = vec![[0; V]; room as usize];
            let mut next = place;
            let after = if begun { address_mut(&mut place) } else { 0 };
            let mut batch = Batch {
                after,
                next: address_mut(&mut next),
                keys: keys.as_mut_ptr().expose_provenance() as u64,
                values: values.as_mut_ptr().expose_provenance() as u64,
                count: room,
                fd: number(&self.fd),
                ..Batch::default()
            };
            // SAFETY: keys and values have room for `count` of the table's, as was checked; a hash table's place is
            // one `u32`, and there are eight.
            let done = unsafe { call(Command::MapLookupBatch, &mut batch) };
            let end = match done {
                Ok(_) => false,
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
                // One bucket has more than there is room for.
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && room < self.form.entries => {
                    room = room.saturating_mul(2);
                    continue;
                }
                Err(e) => return Err(e),
            };
            let read = (batch.count.min(room)) as usize;
            all.extend(keys.into_iter().zip(values).take(read));
            if end {
                return Ok(all);
            }
            (place, begun) = (next, true);
        }
    }

    fn fits(&self, key: usize, value: usize) -> io::Result<()> {
        if self.form.kind != Kind::Ring && (self.form.key as usize, self.form.value as usize) == (key, value)
        {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not the sizes of this table"))
    }

    fn element(&self, key: &[u8]) -> Element {
        Element { fd: number(&self.fd), key: key.as_ptr().expose_provenance() as u64, ..Element::default() }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Map> for OwnedFd {
    fn from(map: Map) -> Self {
        map.fd
    }
}

fn found(done: io::Result<libc::c_long>) -> io::Result<bool> {
    match done {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

pub(super) fn number(fd: &impl AsRawFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

pub(super) fn address_mut<T>(of: &mut T) -> u64 {
    std::ptr::from_mut(of).expose_provenance() as u64
}

pub(super) const fn length<T>() -> u32 {
    size_of::<T>() as u32
}
