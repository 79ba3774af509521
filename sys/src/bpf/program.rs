//! Programs: loading them, and putting them on a cgroup.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::map::{address_mut, length, number};
use super::{Command, NAME_BYTES, call, call_for_fd, name, text};

/// Where on a cgroup a program is asked: the kernel's `BPF_CGROUP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Place {
    /// A packet arrives.
    Ingress = 0,
    /// A packet leaves.
    Egress = 1,
    /// A socket is made.
    Create = 2,
    /// `bind`, IPv4.
    Bind4 = 8,
    /// `bind`, IPv6.
    Bind6 = 9,
    /// `connect`, IPv4.
    Connect4 = 10,
    /// `connect`, IPv6.
    Connect6 = 11,
    /// UDP without a connection, IPv4.
    Sendmsg4 = 14,
    /// UDP without a connection, IPv6.
    Sendmsg6 = 15,
}

/// A program that the kernel did not take, with what its verifier said.
#[derive(Debug)]
pub struct NotLoaded {
    /// Why.
    pub source: io::Error,
    /// The last lines of the verifier's log; empty if it never came to that.
    pub log: String,
}

impl fmt::Display for NotLoaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kernel does not take the program")?;
        if self.log.is_empty() { Ok(()) } else { write!(f, ": {}", self.log) }
    }
}

impl std::error::Error for NotLoaded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// What the kernel says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// A digest of its instructions, in which no descriptor counts.
    pub tag: [u8; 8],
    /// The numbers of its tables, in the order in which it first uses them.
    pub maps: Vec<u32>,
}

/// The second word of a two-instruction load says that its value is a table's descriptor.
const PSEUDO_MAP: u64 = 1 << 12;
const LOG_BYTES: usize = 256 * 1024;
const LOG_KEPT: usize = 2000;
/// Tables that one program may have.
const MAPS_MAX: usize = 64;
const PROGRAMS_MAX: usize = 64;

impl Program {
    /// Loads `code`, in which the instructions at `maps` load the descriptors given there.
    ///
    /// # Errors
    /// Those of `bpf(2)`, with the verifier's words.
    pub fn load(
        called: &str,
        place: Place,
        code: &[u64],
        maps: &[(usize, BorrowedFd<'_>)],
        licence: &CStr,
    ) -> Result<Self, NotLoaded> {
        let failed = |source| NotLoaded { source, log: String::new() };
        let mut code = code.to_vec();
        for (at, map) in maps {
            let load = code.get_mut(*at).ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
            *load = *load & 0xffff_0fff | PSEUDO_MAP | u64::from(number(map)) << 32;
        }
        // Without a log first: it costs the kernel time and us a quarter of a megabyte.
        match load(called, place, &code, licence, &mut []) {
            Ok(fd) => Ok(Self(fd)),
            Err(source) if source.raw_os_error() == Some(libc::EPERM) => Err(failed(source)),
            Err(source) => {
                let mut log = vec![0; LOG_BYTES];
                match load(called, place, &code, licence, &mut log) {
                    Ok(fd) => Ok(Self(fd)),
                    Err(_) => Err(NotLoaded { source, log: end_of(&log) }),
                }
            }
        }
    }

    /// The program with this number.
    ///
    /// # Errors
    /// Those of `bpf(2)`.
    pub fn by_id(id: u32) -> io::Result<Self> {
        let mut attributes = [id, 0, 0];
        // SAFETY: the attributes of BPF_PROG_GET_FD_BY_ID, without addresses; it makes a descriptor.
        unsafe { call_for_fd(Command::ProgramById, &mut attributes) }.map(Self)
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// Those of `bpf(2)`.
    pub fn about(&self) -> io::Result<About> {
        #[repr(C)]
        #[derive(Default)]
        struct Info {
            kind: u32,
            id: u32,
            tag: [u8; 8],
            lengths: [u32; 2],
            code: [u64; 2],
            loaded_ns: u64,
            by_uid: u32,
            map_count: u32,
            maps: u64,
            name: [u8; NAME_BYTES],
        }
        let mut maps = [0_u32; MAPS_MAX];
        let mut info = Info { map_count: maps.len() as u32, maps: address_mut(&mut maps), ..Info::default() };
        let mut query = [0_u64; 2];
        query[0] = u64::from(number(&self.0)) | u64::from(length::<Info>()) << 32;
        query[1] = address_mut(&mut info);
        // SAFETY: the attributes of BPF_OBJ_GET_INFO_BY_FD: descriptor and length in the first word, the address of that
        // many bytes in the second; of the table numbers it writes at most as many as `map_count` says.
        unsafe { call(Command::Info, &mut query)? };
        let count = info.map_count as usize;
        Ok(About { name: text(&info.name), tag: info.tag, maps: maps.into_iter().take(count).collect() })
    }

    /// Puts it on the cgroup whose directory that is. No program of another may be put below it, and one that was
    /// there is replaced in the same step.
    ///
    /// # Errors
    /// Those of `bpf(2)`: `EPERM` if one is attached above.
    pub fn attach(&self, cgroup: BorrowedFd<'_>, place: Place) -> io::Result<()> {
        let mut attributes = [number(&cgroup), number(&self.0), place as u32, 0, 0];
        // SAFETY: the attributes of BPF_PROG_ATTACH, without addresses.
        unsafe { call(Command::ProgramAttach, &mut attributes) }.map(|_| ())
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The numbers of the programs that are attached to that cgroup itself.
///
/// # Errors
/// Those of `bpf(2)`.
pub fn attached(cgroup: BorrowedFd<'_>, place: Place) -> io::Result<Vec<u32>> {
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        cgroup: u32,
        place: u32,
        flags: [u32; 2],
        ids: u64,
        count: u32,
        pad: u32,
        each_flags: u64,
        links: [u64; 2],
        revision: u64,
    }
    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut attributes = Attributes {
        cgroup: cgroup.as_raw_fd().cast_unsigned(),
        place: place as u32,
        ids: address_mut(&mut ids),
        count: ids.len() as u32,
        ..Attributes::default()
    };
    // SAFETY: the attributes of BPF_PROG_QUERY; the kernel writes at most `count` numbers.
    unsafe { call(Command::ProgramQuery, &mut attributes)? };
    Ok(ids.into_iter().take(attributes.count as usize).collect())
}

fn load(called: &str, place: Place, code: &[u64], licence: &CStr, log: &mut [u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        count: u32,
        code: u64,
        licence: u64,
        log_level: u32,
        log_bytes: u32,
        log: u64,
        version: u32,
        flags: u32,
        name: [u8; NAME_BYTES],
        interface: u32,
        place: u32,
    }
    let mut attributes = Attributes {
        kind: kind(place),
        count: u32::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        code: code.as_ptr().expose_provenance() as u64,
        licence: licence.as_ptr().expose_provenance() as u64,
        name: name(called),
        place: place as u32,
        ..Attributes::default()
    };
    if !log.is_empty() {
        attributes.log_level = 1;
        attributes.log_bytes = u32::try_from(log.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        attributes.log = log.as_mut_ptr().expose_provenance() as u64;
    }
    // SAFETY: the attributes of BPF_PROG_LOAD; code, licence and log are as long as is said, or end with a NUL.
    unsafe { call_for_fd(Command::ProgramLoad, &mut attributes) }
}

/// The kernel's `BPF_PROG_TYPE_*` of the programs of that place.
fn kind(place: Place) -> u32 {
    match place {
        Place::Ingress | Place::Egress => 8,
        Place::Create => 9,
        _ => 18,
    }
}

/// The end of the verifier's log says what is wrong.
fn end_of(log: &[u8]) -> String {
    let written = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let end = log.get(written.saturating_sub(LOG_KEPT)..written).unwrap_or_default();
    String::from_utf8_lossy(end).trim().to_owned()
}
