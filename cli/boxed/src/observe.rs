//! What system calls mean: from numbers, arguments and results to a [`Record`].
//!
//! Arguments behind pointers are read when the call ends, those of `execve` when it begins, because its end has another
//! memory. A program that changes them in between deceives the record, and gets a manifest that does not fit it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use nix::libc;
use policy::filter::{Call, Reply, arguments_read, reply};
use policy::{Plan, Proto};

use crate::dns;
use crate::record::{Record, Times, Use, count};
use crate::task::{Address, Task, errno, restarts};

/// Most sockets that are kept in mind.
const SOCKETS_MAX: usize = 65_536;

/// A socket as its own calls describe it.
#[derive(Debug, Default, Clone)]
struct Socket {
    proto: Option<Proto>,
    peer: Option<SocketAddr>,
    bound: Option<SocketAddr>,
    /// Whom it has heard from: sending there is a reply.
    heard: BTreeSet<SocketAddr>,
}

/// What is kept between the two ends of a call.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) call: Call,
    path: Option<String>,
}

/// Turns calls into a record.
pub(crate) struct Observer {
    pub(crate) record: Record,
    spare: bool,
    /// The filters whose arguments matter; the last is the box's own.
    filters: Vec<Vec<u8>>,
    masks: BTreeMap<u32, u8>,
    sockets: BTreeMap<u64, Socket>,
    names: BTreeMap<u32, String>,
    /// Tasks that asked for a limit of open files.
    limited: BTreeSet<u32>,
}

impl Observer {
    /// One for the box of `plan`; `others` are filters that the calls will be held against later. `spare`: calls that kill
    /// are refused instead.
    pub(crate) fn new(plan: &Plan, others: &[Plan], hosts: &str, spare: bool) -> Self {
        let mut filters: Vec<Vec<u8>> = others.iter().flat_map(|other| other.seccomp.clone()).collect();
        filters.extend(plan.seccomp.clone());
        let record = Record { names: dns::hosts(hosts).into_iter().collect(), ..Record::default() };
        Self {
            spare,
            record,
            filters,
            masks: BTreeMap::new(),
            sockets: BTreeMap::new(),
            names: BTreeMap::new(),
            limited: BTreeSet::new(),
        }
    }

    /// The name of a task, asked of the kernel once per program.
    fn name(&mut self, task: Task) -> String {
        self.names.entry(task.0).or_insert_with(|| task.name()).clone()
    }

    /// `task` runs another program, or is gone.
    pub(crate) fn forget(&mut self, task: Task) {
        self.names.remove(&task.0);
        self.limited.remove(&task.0);
    }

    /// Whether the box's filter would kill for this call, and the program is to be spared.
    pub(crate) fn spares(&self, call: &Call) -> bool {
        if !self.spare {
            return false;
        }
        let own = self.filters.last().map(std::slice::from_ref).unwrap_or_default();
        reply(own, call) == Some(Reply::Killed)
    }

    /// A call begins.
    pub(crate) fn begin(&mut self, task: Task, call: Call) -> Begun {
        let path =
            (i64::from(call.number) == libc::SYS_execve).then(|| task.path(None, call.args[0])).flatten();
        Begun { call, path }
    }

    /// A call of `execve` that nobody saw begin.
    pub(crate) fn executed(&self, path: Option<String>) -> Begun {
        Begun { call: Call { number: libc::SYS_execve as u32, args: [0; 6] }, path }
    }

    /// A call ends.
    pub(crate) fn end(&mut self, task: Task, begun: Begun, result: i64) {
        if restarts(result) {
            return;
        }
        let name = self.name(task);
        let Begun { call, path } = begun;
        let filters = &self.filters;
        let mask = *self.masks.entry(call.number).or_insert_with(|| arguments_read(filters, call.number));
        let mut known = Call { number: call.number, args: [0; 6] };
        for (n, (to, from)) in known.args.iter_mut().zip(call.args).enumerate() {
            *to = if mask & (1 << n) != 0 { from } else { 0 };
        }
        count(&mut self.record.calls, &mut self.record.dropped, known, &name);
        if let Some(errno @ (libc::EPERM | libc::EACCES | libc::EROFS)) = errno(result) {
            count(&mut self.record.refused, &mut self.record.dropped, (call.number, errno), &name);
        }
        self.files(task, &call, path, result, &name);
        self.memory(&call, result, &name);
        self.limit(task, &call, result);
        self.network(task, &call, result, &name);
    }

    fn file(&mut self, path: String, what: Use, result: i64, by: &str) {
        let key = (path, what, errno(result).unwrap_or(0));
        count(&mut self.record.files, &mut self.record.dropped, key, by);
    }

    fn files(&mut self, task: Task, call: &Call, program: Option<String>, result: i64, by: &str) {
        let number = i64::from(call.number);
        if let Some(path) = program {
            return self.file(path, Use::Execute, result, by);
        }
        if let Some((directory, path, flags)) = opens(task, call) {
            let writes = flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) != libc::O_RDONLY;
            let opened = i32::try_from(result).ok().filter(|fd| *fd >= 0);
            // The kernel knows what the links on the way led to.
            let path = match opened.and_then(|fd| task.descriptor(fd)) {
                Some(path) => Some(path.to_string_lossy().into_owned()),
                None => task.path(directory, path),
            };
            if let Some(path) = path {
                self.file(path, if writes { Use::Write } else { Use::Read }, result, by);
            }
        }
        for (_, directory, path) in CHANGES.iter().filter(|(change, ..)| *change == number) {
            let directory = directory.and_then(|n| call.args.get(n)).map(|fd| *fd as i32);
            let path = call.args.get(*path).and_then(|at| task.path(directory, *at));
            if let Some(path) = path {
                self.file(path, Use::Write, result, by);
            }
        }
        if MAKES_DESCRIPTORS.contains(&number)
            && let Ok(fd) = u32::try_from(result)
        {
            self.record.descriptor = self.record.descriptor.max(fd);
        }
    }

    /// Memory that is writable and executable at once, or written first and executable then.
    fn memory(&mut self, call: &Call, result: i64, by: &str) {
        let [_, _, protection, flags, ..] = call.args.map(|arg| arg as i32);
        let executable = protection & libc::PROT_EXEC != 0;
        let writable = protection & libc::PROT_WRITE != 0;
        let refused = matches!(errno(result), Some(libc::EACCES | libc::EPERM));
        let asked = match i64::from(call.number) {
            libc::SYS_mmap => executable && flags & libc::MAP_ANONYMOUS != 0 && (writable || refused),
            libc::SYS_mprotect | libc::SYS_pkey_mprotect => executable && (writable || refused),
            _ => false,
        };
        if asked {
            count(&mut self.record.executable_memory, &mut self.record.dropped, refused, by);
        }
    }

    /// A limit of open files that a program asks for.
    fn limit(&mut self, task: Task, call: &Call, result: i64) {
        let [a0, a1, a2, ..] = call.args;
        let (resource, new) = match i64::from(call.number) {
            libc::SYS_prlimit64 => (a1, a2),
            libc::SYS_setrlimit => (a0, a1),
            _ => return,
        };
        if resource != u64::from(libc::RLIMIT_NOFILE) || new == 0 || !self.limited.insert(task.0) {
            return;
        }
        // `struct rlimit`: the hard limit comes second.
        let hard = task.bytes(new + 8, 8).try_into().map_or(0, u64::from_ne_bytes);
        if result == 0 {
            self.record.open_files = self.record.open_files.max(hard);
        }
    }

    fn network(&mut self, task: Task, call: &Call, result: i64, by: &str) {
        let [a0, a1, a2, _, a4, a5] = call.args;
        let fd = a0 as i32;
        match i64::from(call.number) {
            libc::SYS_socket => self.socket(task, [a0, a1, a2].map(|arg| arg as i32), result),
            libc::SYS_connect => match task.address(a1, a2) {
                Some(Address::Internet(to)) => self.connect(task, fd, to, result, by),
                Some(Address::Unix(path)) => self.unix(path, result, by),
                _ => {}
            },
            libc::SYS_bind => {
                if let Some(Address::Internet(at)) = task.address(a1, a2) {
                    self.bind(task, fd, at, result, by);
                }
            }
            libc::SYS_sendto if result >= 0 => self.sent(task, fd, task.address(a4, a5), by),
            libc::SYS_sendmsg | libc::SYS_sendmmsg if result >= 0 => {
                self.sent(task, fd, task.message(a1).and_then(|(to, ..)| to), by);
            }
            libc::SYS_write | libc::SYS_writev if result >= 0 && !self.sockets.is_empty() => {
                self.sent(task, fd, None, by);
            }
            libc::SYS_recvfrom if result >= 0 => {
                let length = if a5 == 0 { 0 } else { 128 };
                self.heard(task, fd, task.address(a4, length), a1, result);
            }
            libc::SYS_recvmsg if result >= 0 => {
                if let Some((from, buffer, _)) = task.message(a1) {
                    self.heard(task, fd, from, buffer, result);
                }
            }
            libc::SYS_recvmmsg if result > 0 => {
                // The length of the first message comes after its header of 56 bytes.
                let length = task.bytes(a1 + 56, 4).try_into().map_or(0, u32::from_ne_bytes);
                if let Some((from, buffer, _)) = task.message(a1) {
                    self.heard(task, fd, from, buffer, i64::from(length));
                }
            }
            libc::SYS_read if result > 0 && !self.sockets.is_empty() => {
                self.heard(task, fd, None, a1, result)
            }
            _ => {}
        }
    }

    fn socket(&mut self, task: Task, [family, kind, protocol]: [i32; 3], result: i64) {
        let Some(inode) = i32::try_from(result).ok().and_then(|fd| task.socket(fd)) else { return };
        let proto = match (family, kind & 0xf) {
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM)
                if [0, libc::IPPROTO_TCP].contains(&protocol) =>
            {
                Some(Proto::Tcp)
            }
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM)
                if [0, libc::IPPROTO_UDP].contains(&protocol) =>
            {
                Some(Proto::Udp)
            }
            _ => None,
        };
        if self.sockets.len() >= SOCKETS_MAX {
            // The oldest: the kernel numbers sockets upwards.
            self.sockets.pop_first();
        }
        if proto.is_some() {
            self.sockets.insert(inode, Socket { proto, ..Socket::default() });
        }
    }

    fn known(&mut self, task: Task, fd: i32) -> Option<&mut Socket> {
        let inode = task.socket(fd)?;
        self.sockets.get_mut(&inode)
    }

    fn connect(&mut self, task: Task, fd: i32, to: SocketAddr, result: i64, by: &str) {
        let Some(socket) = self.known(task, fd) else { return };
        socket.peer = Some(to);
        // A UDP socket that is only connected tells nobody: libc does so to learn which address it would have.
        if socket.proto == Some(Proto::Tcp) && errno(result) != Some(libc::EISCONN) {
            self.reached(to, Proto::Tcp, by);
        }
    }

    fn reached(&mut self, to: SocketAddr, proto: Proto, by: &str) {
        if to.port() != 0 {
            count(&mut self.record.connects, &mut self.record.dropped, (to, proto), by);
        }
    }

    fn unix(&mut self, path: String, result: i64, by: &str) {
        if path.starts_with('/') {
            let key = (path, errno(result).unwrap_or(0));
            count(&mut self.record.unix, &mut self.record.dropped, key, by);
        }
    }

    fn bind(&mut self, task: Task, fd: i32, at: SocketAddr, result: i64, by: &str) {
        let Some(socket) = self.known(task, fd) else { return };
        let proto = socket.proto;
        if at.port() == 0 {
            if proto == Some(Proto::Tcp) && errno(result) == Some(libc::EACCES) {
                let times: &mut Times = &mut self.record.port_chosen_by_the_kernel;
                times.count += 1;
                times.by.insert(by.to_owned());
            }
            return;
        }
        socket.bound = Some(at);
        if at.port() < 1024 && errno(result) == Some(libc::EACCES) {
            count(&mut self.record.privileged_ports, &mut self.record.dropped, at.port(), by);
        }
        if let Some(proto) = proto {
            count(&mut self.record.listens, &mut self.record.dropped, (at, proto), by);
        }
    }

    /// Something was sent on a socket, to `to` or to its peer.
    fn sent(&mut self, task: Task, fd: i32, to: Option<Address>, by: &str) {
        if let Some(Address::Unix(path)) = to {
            return self.unix(path, 0, by);
        }
        let Some(socket) = self.known(task, fd) else { return };
        let to = match to {
            Some(Address::Internet(to)) => Some(to),
            _ => socket.peer,
        };
        let is_reply = to.is_some_and(|to| socket.bound.is_some() && socket.heard.contains(&to));
        if let (Some(Proto::Udp), Some(to), false) = (socket.proto, to, is_reply) {
            self.reached(to, Proto::Udp, by);
        }
    }

    /// Something was received on a socket.
    fn heard(&mut self, task: Task, fd: i32, from: Option<Address>, buffer: u64, length: i64) {
        let Some(socket) = self.known(task, fd) else { return };
        if socket.proto != Some(Proto::Udp) {
            return;
        }
        let from = match from {
            Some(Address::Internet(from)) => Some(from),
            _ => socket.peer,
        };
        if let Some(from) = from
            && socket.heard.len() < 1024
        {
            socket.heard.insert(from);
        }
        if from.is_some_and(|from| from.port() == 53) {
            let message = task.bytes(buffer, usize::try_from(length).unwrap_or(0).min(65_535));
            let names = dns::answers(&message);
            let room = crate::record::KINDS_MAX.saturating_sub(self.record.names.len());
            self.record.names.extend(names.into_iter().take(room));
        }
    }
}

/// The directory, the path and the flags of a call that opens a file.
fn opens(task: Task, call: &Call) -> Option<(Option<i32>, u64, i32)> {
    let [a0, a1, a2, ..] = call.args;
    match i64::from(call.number) {
        libc::SYS_open => Some((None, a0, a1 as i32)),
        libc::SYS_creat => Some((None, a0, libc::O_CREAT | libc::O_WRONLY)),
        libc::SYS_openat => Some((Some(a0 as i32), a1, a2 as i32)),
        libc::SYS_openat2 => {
            let flags = u64::from_ne_bytes(task.bytes(a2, 8).try_into().ok()?);
            Some((Some(a0 as i32), a1, flags as i32))
        }
        _ => None,
    }
}

/// Calls that change what a path names: number, argument with the directory, argument with the path.
const CHANGES: &[(i64, Option<usize>, usize)] = &[
    (libc::SYS_mkdir, None, 0),
    (libc::SYS_mkdirat, Some(0), 1),
    (libc::SYS_rmdir, None, 0),
    (libc::SYS_unlink, None, 0),
    (libc::SYS_unlinkat, Some(0), 1),
    (libc::SYS_rename, None, 1),
    (libc::SYS_renameat, Some(2), 3),
    (libc::SYS_renameat2, Some(2), 3),
    (libc::SYS_link, None, 1),
    (libc::SYS_linkat, Some(2), 3),
    (libc::SYS_symlink, None, 1),
    (libc::SYS_symlinkat, Some(1), 2),
    (libc::SYS_truncate, None, 0),
    (libc::SYS_mknod, None, 0),
    (libc::SYS_mknodat, Some(0), 1),
    (libc::SYS_chmod, None, 0),
    (libc::SYS_fchmodat, Some(0), 1),
];

/// Calls whose result is a descriptor.
const MAKES_DESCRIPTORS: &[i64] = &[
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_creat,
    libc::SYS_socket,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
];
