//! A refused call, put together from its records: which layer of the box refused it, what it was about, and what in the
//! manifest would allow it.
//!
//! The kernel tells the call, its errno, its path with mode and owner, its address; which of its layers answered is
//! concluded from these. Where two would have answered alike, the one that is asked first is named.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use nix::libc;

use crate::audit_record::{Answer, Call, Object, Record};
use crate::syscalls;

/// Calls whose records are not complete yet; older ones are told without what is missing.
const OPEN_MAX: usize = 8;
/// Paths of one call: of two, the first is the directory.
const OBJECTS_MAX: usize = 4;

/// A refused call with what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The call.
    pub call: Call,
    /// Its paths or its address.
    pub objects: Vec<Object>,
}

/// Puts records together.
#[derive(Debug, Default)]
pub struct Assembler {
    open: VecDeque<Refusal>,
}

impl Assembler {
    /// Takes one record; gives the refusal that is complete with it, if one is.
    pub fn push(&mut self, record: Record) -> Option<Refusal> {
        match record {
            Record::Call(call) => {
                let refusal = Refusal { call, objects: Vec::new() };
                // The filter's answer has one record only.
                if !matches!(call.answer, Answer::Failed(_)) {
                    return Some(refusal);
                }
                self.open.push_back(refusal);
                if self.open.len() > OPEN_MAX { self.open.pop_front() } else { None }
            }
            Record::Object(serial, object) => {
                let refusal = self.open.iter_mut().find(|open| open.call.serial == serial)?;
                if refusal.objects.len() < OBJECTS_MAX {
                    refusal.objects.push(object);
                }
                None
            }
            Record::End(serial) => {
                let at = self.open.iter().position(|open| open.call.serial == serial)?;
                self.open.remove(at)
            }
        }
    }
}

/// The layer of the box that refused a call, in the words of `docs/defence-in-depth.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Its filter.
    Seccomp,
    /// Memory is writable or executable, never both, one after the other.
    WriteXorExecute,
    /// What its mounts are not for: writing, running programs, devices.
    Mounts,
    /// Its Landlock rules.
    Landlock,
    /// The firewall on its cgroup: no rule has the address, or the port.
    Firewall,
    /// Its cgroup's limits.
    Cgroup,
    /// Its storage's quota.
    Quota,
    /// Its uid, which owns nothing, or a capability that it has not.
    Permission,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seccomp => "seccomp",
            Self::WriteXorExecute => "wx",
            Self::Mounts => "mounts",
            Self::Landlock => "landlock",
            Self::Firewall => "firewall",
            Self::Cgroup => "cgroup",
            Self::Quota => "quota",
            Self::Permission => "permission",
        })
    }
}

impl Refusal {
    /// Which layer it was.
    pub fn by(&self) -> Layer {
        let Answer::Failed(errno) = self.call.answer else { return Layer::Seccomp };
        let name = self.name();
        match (errno, name) {
            (libc::EROFS, _) | (libc::EPERM, "mmap") => Layer::Mounts,
            (libc::EDQUOT, _) => Layer::Quota,
            (libc::EAGAIN, _) => Layer::Cgroup,
            (libc::EACCES, "mmap" | "mprotect" | "pkey_mprotect" | "mremap" | "shmat") => {
                Layer::WriteXorExecute
            }
            (libc::EACCES, "execve" | "execveat") if self.in_place_without_programs() => Layer::Mounts,
            (libc::EACCES, "ioctl") => Layer::Landlock,
            (libc::EPERM, _) if self.address().is_some() => Layer::Firewall,
            (libc::EACCES | libc::EPERM, "connect" | "bind" | "sendto" | "sendmsg") => Layer::Landlock,
            (libc::EACCES, _) if self.mode_allows() => Layer::Landlock,
            _ => Layer::Permission,
        }
    }

    /// The address of a port that Landlock kept the box from: `netd` may know the name that led there.
    pub fn nameable(&self) -> Option<IpAddr> {
        let connects = self.by() == Layer::Landlock && self.name() == "connect";
        self.address().map(|address| address.ip()).filter(|address| connects && !address.is_loopback())
    }

    /// The line of a manifest that would allow it, if one could. `host` is what the app calls the address.
    pub fn remedy(&self, host: Option<&str>) -> Option<String> {
        let (name, layer) = (self.name(), self.by());
        let path = self.path().unwrap_or_default();
        match layer {
            Layer::WriteXorExecute => Some("process.jit = true".to_owned()),
            Layer::Seccomp if matches!(name, "mprotect" | "mmap" | "pkey_mprotect") => {
                Some("process.jit = true".to_owned())
            }
            Layer::Seccomp if matches!(name, "shmget" | "shmat" | "shmctl" | "shmdt") => {
                Some("process.sysv_shm = true".to_owned())
            }
            Layer::Seccomp if name == "socket" => Some("network.connect or network.listen".to_owned()),
            Layer::Landlock if matches!(name, "connect" | "bind") => {
                let (ip, port) = (self.address()?.ip(), self.address()?.port());
                let host = match host {
                    Some(host) => host.to_owned(),
                    None if ip.is_loopback() => "localhost".to_owned(),
                    None if ip.is_ipv6() => format!("[{ip}]"),
                    None => ip.to_string(),
                };
                match name {
                    // A port of the kernel's choosing is nobody's: no line has it.
                    "bind" => (port != 0).then(|| format!("network.listen = [\"{port}/tcp\"]")),
                    _ => Some(format!("network.connect = [\"{host}:{port}/tcp\"]")),
                }
            }
            Layer::Landlock if path.starts_with(b"/dev/") => Some("devices".to_owned()),
            Layer::Quota => Some("resources.storage".to_owned()),
            Layer::Cgroup => Some("resources.tasks".to_owned()),
            _ => None,
        }
    }

    /// The call's name; empty when it has none.
    fn name(&self) -> &'static str {
        syscalls::known(self.call.number).unwrap_or_default()
    }

    fn paths(&self) -> impl Iterator<Item = (&[u8], Option<(u32, u32, u32)>)> {
        self.objects.iter().filter_map(|object| match object {
            Object::Path { name, owner } => Some((name.as_slice(), *owner)),
            Object::Address(_) => None,
        })
    }

    /// The path that was asked for: of two, the second, since the first is its directory.
    fn path(&self) -> Option<&[u8]> {
        self.paths().last().map(|(name, _)| name)
    }

    fn in_place_without_programs(&self) -> bool {
        let places: [&[u8]; 5] = [b"/data/", b"/tmp/", b"/run/", b"/dev/", b"/proc/"];
        // A relative path is one too, unless it leads into the root, which has programs that everybody may run.
        self.path().is_some_and(|path| !path.starts_with(b"/") || places.iter().any(|p| path.starts_with(p)))
    }

    /// Whether mode and owner of what it is about would have let it through: then it was Landlock.
    fn mode_allows(&self) -> bool {
        let want = match self.name() {
            "execve" | "execveat" | "chdir" => 0o1,
            "open" | "openat" => {
                let flags = if self.name() == "open" { self.call.args[1] } else { self.call.args[2] };
                match flags & 0o3 {
                    0 => 0o4,
                    1 => 0o2,
                    _ => 0o6,
                }
            }
            "openat2" | "readlink" | "readlinkat" => 0o4,
            _ => 0o2,
        };
        let allows = |(mode, uid, gid): (u32, u32, u32)| {
            let digit = match () {
                () if uid == self.call.uid => mode >> 6,
                () if gid == self.call.uid => mode >> 3,
                () => mode,
            };
            digit & want == want
        };
        self.paths().last().and_then(|(_, owner)| owner).is_some_and(allows)
    }

    fn address(&self) -> Option<SocketAddr> {
        let bytes = self.objects.iter().find_map(|object| match object {
            Object::Address(bytes) => Some(bytes.as_slice()),
            Object::Path { .. } => None,
        })?;
        let &[low, high, port_high, port_low, ..] = bytes else { return None };
        let port = u16::from_be_bytes([port_high, port_low]);
        let ip: IpAddr = match i32::from(u16::from_ne_bytes([low, high])) {
            libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?).into(),
            libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// `openat errno=EACCES by=landlock path="/x" allow="…"`, in printable ASCII.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell(None, f)
    }
}

/// A refusal with the name that led the app to its address, which is printable.
pub struct Named<'a>(pub &'a Refusal, pub &'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.tell(Some(self.1), f)
    }
}

impl Refusal {
    fn tell(&self, host: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&syscalls::name(self.call.number))?;
        match self.call.answer {
            Answer::Killed(libc_signal) => {
                let signal = nix::sys::signal::Signal::try_from(libc_signal.cast_signed());
                match signal {
                    Ok(signal) => write!(f, " killed={signal}")?,
                    Err(_) => write!(f, " killed={libc_signal}")?,
                }
            }
            Answer::Filtered => f.write_str(" errno=EPERM")?,
            Answer::Failed(errno) => write!(f, " errno={:?}", Errno::from_raw(errno))?,
        }
        write!(f, " by={}", self.by())?;
        if let Some(address) = self.address() {
            write!(f, " address={address}")?;
            if let Some(host) = host {
                write!(f, " host=\"{}\"", Quoted(host.as_bytes()))?;
            }
        } else if let Some(path) = self.path() {
            write!(f, " path=\"{}\"", Quoted(path))?;
        }
        match self.remedy(host) {
            Some(remedy) => write!(f, " allow=\"{}\"", Quoted(remedy.as_bytes())),
            None => Ok(()),
        }
    }
}

/// Bytes as printable ASCII that has no quote.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'"' => f.write_str("'")?,
                b' '..=b'~' if byte != b'\\' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, args: [u64; 4], answer: Answer) -> Call {
        let number = (0..600).find(|n| syscalls::known(*n) == Some(name)).unwrap();
        Call { serial: 1, pid: 7, uid: 10_000, number, args, answer }
    }

    fn failed(name: &str, args: [u64; 4], errno: i32, objects: Vec<Object>) -> Refusal {
        Refusal { call: call(name, args, Answer::Failed(errno)), objects }
    }

    fn path(name: &str, mode: u32) -> Object {
        Object::Path { name: name.into(), owner: Some((mode, 0, 0)) }
    }

    #[test]
    fn refusal_names_the_layer() {
        let filtered = Refusal { call: call("mount", [0; 4], Answer::Killed(31)), objects: Vec::new() };
        assert_eq!(filtered.to_string(), "mount killed=SIGSYS by=seccomp");
        let mprotect = failed("mprotect", [0; 4], libc::EACCES, Vec::new());
        assert_eq!(mprotect.to_string(), "mprotect errno=EACCES by=wx allow=\"process.jit = true\"");
        let run = failed("execve", [0; 4], libc::EACCES, vec![path("/data/x", 0o100_755)]);
        assert_eq!(run.to_string(), "execve errno=EACCES by=mounts path=\"/data/x\"");
        let write = failed("openat", [0, 0, 1, 0], libc::EACCES, vec![path("/etc/x", 0o100_644)]);
        assert_eq!(write.by(), Layer::Permission);
        let read = failed("openat", [0, 0, 0, 0], libc::EACCES, vec![path("/dev/x", 0o020_666)]);
        assert_eq!(read.by(), Layer::Landlock);
        let fork = failed("clone", [0; 4], libc::EAGAIN, Vec::new());
        assert_eq!(fork.by(), Layer::Cgroup);
    }

    #[test]
    fn refusal_of_a_port_says_the_manifests_line() {
        let mut address = vec![2, 0, 0x1f, 0x90, 127, 0, 0, 1];
        address.extend([0; 8]);
        let connect = failed("connect", [0; 4], libc::EACCES, vec![Object::Address(address)]);
        assert_eq!(
            connect.to_string(),
            "connect errno=EACCES by=landlock address=127.0.0.1:8080 \
             allow=\"network.connect = ['localhost:8080/tcp']\""
        );
        assert_eq!(connect.nameable(), None);
    }

    #[test]
    fn refusal_of_a_port_says_the_name_that_led_there() {
        let of = |call: &str, port: [u8; 2]| {
            let mut address = vec![2, 0, port[0], port[1], 192, 0, 2, 7];
            address.extend([0; 8]);
            failed(call, [0; 4], libc::EACCES, vec![Object::Address(address)])
        };
        let connect = of("connect", [0, 80]);
        assert_eq!(connect.nameable(), Some("192.0.2.7".parse().unwrap()));
        let allow = |text: String| text.split_once(" allow=").map(|(_, allow)| allow.to_owned());
        assert_eq!(allow(connect.to_string()).unwrap(), "\"network.connect = ['192.0.2.7:80/tcp']\"");
        assert_eq!(
            Named(&connect, "web.example").to_string(),
            "connect errno=EACCES by=landlock address=192.0.2.7:80 host=\"web.example\" \
             allow=\"network.connect = ['web.example:80/tcp']\""
        );
        assert_eq!(allow(of("bind", [0, 0]).to_string()), None);
        assert_eq!(of("bind", [0, 80]).nameable(), None);
    }

    #[test]
    fn refusal_text_is_printable_whatever_the_path_is() {
        let name = Object::Path { name: b"\"\n\\\x1b[2J\xff".to_vec(), owner: None };
        let text = failed("openat", [0; 4], libc::EACCES, vec![name]).to_string();
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)) && text.matches('"').count() == 2, "{text}");
    }

    #[test]
    fn assembler_puts_together_what_belongs_together() {
        let mut assembler = Assembler::default();
        let first = call("openat", [0; 4], Answer::Failed(libc::EACCES));
        let second = Call { serial: 2, ..first };
        assert_eq!(assembler.push(Record::Call(first)), None);
        assert_eq!(assembler.push(Record::Call(second)), None);
        assert_eq!(assembler.push(Record::Object(2, path("/b", 0))), None);
        assert_eq!(assembler.push(Record::Object(1, path("/a", 0))), None);
        assert_eq!(assembler.push(Record::End(1)).unwrap().objects, [path("/a", 0)]);
        assert_eq!(assembler.push(Record::End(1)), None);
        assert_eq!(assembler.push(Record::End(2)).unwrap().objects, [path("/b", 0)]);
    }

    #[test]
    fn assembler_is_bounded_and_loses_no_call() {
        let mut assembler = Assembler::default();
        let first = call("openat", [0; 4], Answer::Failed(libc::EACCES));
        let told =
            (0..100).filter_map(|serial| assembler.push(Record::Call(Call { serial, ..first }))).count();
        assert_eq!((told, assembler.open.len()), (100 - OPEN_MAX, OPEN_MAX));
    }
}
