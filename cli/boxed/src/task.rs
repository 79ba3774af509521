//! A watched task's memory and descriptors, read as its calls name them. All of it is the program's own word.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use sys::trace;

/// Longest path the kernel takes.
const PATH_MAX: usize = 4096;
const PAGE: u64 = 4096;

/// A task by its number here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Task(pub(crate) u32);

/// An address as a program gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// Of the internet families.
    Internet(SocketAddr),
    /// A Unix socket's path.
    Unix(String),
    /// Anything else.
    Other,
}

impl Task {
    /// What it calls itself: the first word of its command line, without folders; the kernel's name of it if there is none.
    pub(crate) fn name(self) -> String {
        let read = |file: &str| fs::read(format!("/proc/{}/{file}", self.0)).unwrap_or_default();
        let name = program(&read("cmdline")).or_else(|| program(&read("comm")));
        name.unwrap_or_else(|| "a task that is gone".to_owned())
    }

    /// Whether it is a thread of the process `pid`.
    pub(crate) fn is_of(self, pid: u32) -> bool {
        self.status("Tgid:").is_some_and(|of| of.parse() == Ok(pid))
    }

    /// Whether its process has a handler for `signal`.
    pub(crate) fn handles(self, signal: i32) -> bool {
        let caught = self.status("SigCgt:").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
        caught.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
    }

    fn status(self, key: &str) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
    }

    /// Bytes at `at`, as many as are there.
    pub(crate) fn bytes(self, at: u64, length: usize) -> Vec<u8> {
        trace::memory(self.0, at, length).unwrap_or_default()
    }

    fn word(self, at: u64) -> Option<u64> {
        Some(u64::from_ne_bytes(self.bytes(at, 8).try_into().ok()?))
    }

    /// A text up to its NUL.
    fn text(self, mut at: u64) -> Option<String> {
        let mut text = Vec::new();
        while text.len() < PATH_MAX {
            // Page by page: what comes after the text may not be there.
            let length = usize::try_from(PAGE - at % PAGE).ok()?;
            let bytes = self.bytes(at, length);
            let end = bytes.iter().position(|byte| *byte == 0);
            text.extend_from_slice(bytes.get(..end.unwrap_or(bytes.len()))?);
            if end.is_some() {
                return Some(String::from_utf8_lossy(&text).into_owned());
            }
            if bytes.is_empty() {
                return None;
            }
            at = at.checked_add(bytes.len() as u64)?;
        }
        None
    }

    /// The path at `at`, absolute in the box and without `.` and `..`; links in it are not followed.
    pub(crate) fn path(self, directory: Option<i32>, at: u64) -> Option<String> {
        let text = self.text(at)?;
        if text.is_empty() {
            return None;
        }
        let base = match directory {
            _ if text.starts_with('/') => PathBuf::from("/"),
            None | Some(nix::libc::AT_FDCWD) => self.link("cwd")?,
            Some(fd) => self.descriptor(fd)?,
        };
        Some(normal(&base.join(text)))
    }

    fn link(self, name: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/{name}", self.0)).ok()
    }

    /// What the descriptor `fd` is open on, as a path in the box or as `socket:[N]`.
    pub(crate) fn descriptor(self, fd: i32) -> Option<PathBuf> {
        self.link(&format!("fd/{fd}"))
    }

    /// The number of the socket that `fd` is, if it is one.
    pub(crate) fn socket(self, fd: i32) -> Option<u64> {
        let link = self.descriptor(fd)?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }

    /// The address of `length` bytes at `at`.
    pub(crate) fn address(self, at: u64, length: u64) -> Option<Address> {
        if at == 0 || length < 2 {
            return None;
        }
        Some(address(&self.bytes(at, usize::try_from(length.min(128)).ok()?)))
    }

    /// A `struct msghdr`: its address, and its first buffer.
    pub(crate) fn message(self, at: u64) -> Option<(Option<Address>, u64, u64)> {
        let (name, length) = (self.word(at)?, self.word(at + 8)? & 0xffff_ffff);
        let (vectors, count) = (self.word(at + 16)?, self.word(at + 24)?);
        let (base, size) = if count == 0 { (0, 0) } else { (self.word(vectors)?, self.word(vectors + 8)?) };
        Some((self.address(name, length), base, size))
    }
}

/// The name of the program in a command line.
fn program(line: &[u8]) -> Option<String> {
    let word = line.split(|byte| matches!(byte, 0 | b' ' | b'\n')).next()?;
    let word = String::from_utf8_lossy(word);
    let name = word.rsplit('/').next()?.trim_end_matches(':');
    // Longer than any name the kernel keeps, and than anybody wants to read.
    let name: String = name.chars().take(32).flat_map(char::escape_debug).collect();
    (!name.is_empty()).then_some(name)
}

/// `struct sockaddr_in`, `sockaddr_in6` or `sockaddr_un`.
fn address(bytes: &[u8]) -> Address {
    let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let family = bytes.get(..2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let read = || match family.map(i32::from)? {
        nix::libc::AF_INET => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(Address::Internet((Ipv4Addr::from(address), port(2)?).into()))
        }
        nix::libc::AF_INET6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Some(Address::Internet((Ipv6Addr::from(address).to_canonical(), port(2)?).into()))
        }
        nix::libc::AF_UNIX => {
            let path = bytes.get(2..)?;
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Some(Address::Unix(String::from_utf8_lossy(path.get(..end)?).into_owned()))
        }
        _ => None,
    };
    read().unwrap_or(Address::Other)
}

fn normal(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.extend(name.to_str()),
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

/// The error that a call's result says, if it is one.
pub(crate) fn errno(result: i64) -> Option<i32> {
    // Results from 512 up are the kernel's own: the call is made again.
    i32::try_from(-result).ok().filter(|errno| (1..512).contains(errno))
}

/// Whether the call was broken off by a signal and will be made again.
pub(crate) fn restarts(result: i64) -> bool {
    (-516..=-512).contains(&result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_each_family_is_read() {
        let four = [2, 0, 0x07, 0x5b, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(address(&four), Address::Internet("127.0.0.1:1883".parse().unwrap()));
        let mut six = vec![10, 0, 0, 80, 0, 0, 0, 0];
        six.extend("::ffff:192.0.2.7".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(address(&six), Address::Internet("192.0.2.7:80".parse().unwrap()), "mapped");
        assert_eq!(address(b"\x01\0/run/notify\0junk"), Address::Unix("/run/notify".into()));
        for cut in 0..8 {
            assert_eq!(address(&four[..cut]), Address::Other);
        }
    }

    #[test]
    fn program_is_the_first_word_without_folders_and_printable() {
        let name = |line: &[u8]| program(line).unwrap_or_default();
        assert_eq!(name(b"/usr/bin/python3\0-c\0"), "python3");
        assert_eq!(name(b"nginx: worker process"), "nginx");
        assert_eq!(name(b"a\x1b[1m\xff\0"), "a\\u{1b}[1m\u{fffd}");
        assert_eq!(program(b""), None);
    }

    #[test]
    fn path_is_made_normal_without_leaving_the_root() {
        assert_eq!(normal(Path::new("/data/./a/../b")), "/data/b");
        assert_eq!(normal(Path::new("/../../etc")), "/etc");
        assert_eq!(normal(Path::new("/")), "/");
    }

    #[test]
    fn result_is_an_error_only_where_the_kernel_means_one() {
        assert_eq!((errno(-13), errno(0), errno(-512), errno(7)), (Some(13), None, None, None));
        assert!(restarts(-512) && !restarts(-4));
    }

    #[test]
    fn task_reads_its_own_texts_across_pages() {
        let me = Task(std::process::id());
        let text = format!("/{}\0", "x/".repeat(2000));
        assert_eq!(me.path(None, text.as_ptr() as u64).map(|path| path.len()), Some(4000));
        assert_eq!(me.path(None, c"/data/../a".as_ptr() as u64).as_deref(), Some("/a"));
        assert_eq!(me.path(None, 8), None);
    }
}
