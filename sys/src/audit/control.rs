//! What the kernel is told to record: rules, as `auditctl` sets them.
//!
//! Each request is answered before the next is made; the kernel answers at once and never waits for anybody. Rules stay
//! when whoever set them is gone, so setting one that is there already is no error, and neither is removing one that is
//! not.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use super::{NLMSG_HDR, netlink};

const AUDIT_SET: u16 = 1001;
const AUDIT_ADD_RULE: u16 = 1011;
const AUDIT_DEL_RULE: u16 = 1012;
/// `AUDIT_STATUS_ENABLED | FAILURE | RATE_LIMIT | BACKLOG_LIMIT | BACKLOG_WAIT_TIME` of `struct audit_status`.
const STATUS_MASK: u32 = 0x01 | 0x02 | 0x08 | 0x10 | 0x20;
/// Records that wait for the kernel's own thread before more are dropped: a burst of refusals of several boxes.
const BACKLOG: u32 = 2048;

const FILTER_EXIT: u32 = 4;
const FILTER_EXCLUDE: u32 = 5;
const ALWAYS: u32 = 2;
const EQUAL: u32 = 0x4000_0000;
const AT_LEAST: u32 = 0x2000_0000 | EQUAL;

/// The calls that a rule is about: one bit for each number, as `audit_rule_data.mask` has them.
pub type Calls = [u32; 64];
/// Every call.
pub const CALLS_ALL: Calls = [u32::MAX; 64];

/// A condition of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The caller's uid is this one.
    Uid(u32),
    /// The caller's uid is this one or a higher one.
    UidFrom(u32),
    /// The call failed with this errno.
    Errno(i32),
    /// The record is of this type.
    Kind(u16),
}

impl Field {
    /// Field, operator and value of `struct audit_rule_data`.
    fn encoded(self) -> (u32, u32, u32) {
        match self {
            Self::Uid(uid) => (1, EQUAL, uid),
            Self::UidFrom(uid) => (1, AT_LEAST, uid),
            Self::Errno(errno) => (103, EQUAL, (-errno).cast_unsigned()),
            Self::Kind(kind) => (12, EQUAL, kind.into()),
        }
    }
}

/// A rule.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// Record these calls when every condition holds.
    Record(&'a Calls, &'a [Field]),
    /// Record nothing for which every condition holds.
    Silence(&'a [Field]),
}

/// A socket to the audit subsystem.
#[derive(Debug)]
pub struct AuditControl(OwnedFd);

impl AuditControl {
    /// Opens it. `EPROTONOSUPPORT` on a kernel without audit.
    pub fn open() -> io::Result<Self> {
        netlink(0).map(Self)
    }

    /// Switches recording on for every process that is made from now on. Nobody ever waits for a record to be taken,
    /// and records that are lost are lost in silence. `EPERM` without `CAP_AUDIT_CONTROL`.
    pub fn enable(&self) -> io::Result<()> {
        // mask, enabled, failure, pid, rate_limit, backlog_limit, lost, backlog, features, backlog_wait_time
        self.ask(AUDIT_SET, &[STATUS_MASK, 1, 0, 0, 0, BACKLOG, 0, 0, 0, 0, 0])
    }

    /// Sets a rule. `EPERM` as above; `EINVAL` when the kernel does not know a field.
    pub fn add(&self, rule: &Rule<'_>) -> io::Result<()> {
        match self.ask(AUDIT_ADD_RULE, &encoded(rule)) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Removes a rule.
    pub fn remove(&self, rule: &Rule<'_>) -> io::Result<()> {
        match self.ask(AUDIT_DEL_RULE, &encoded(rule)) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Sends one request and reads its answer, which the kernel has queued when the sending returns.
    fn ask(&self, kind: u16, words: &[u32]) -> io::Result<()> {
        let length = NLMSG_HDR + words.len() * 4;
        let mut message = Vec::with_capacity(length);
        message.extend_from_slice(&(length as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        words.iter().for_each(|word| message.extend_from_slice(&word.to_ne_bytes()));
        // SAFETY: `message` is readable for its length; an unbound netlink socket sends to the kernel.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answer = [0_u8; 1024];
        // SAFETY: `answer` is writable for its length.
        let got = unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                answer.as_mut_ptr().cast(),
                answer.len(),
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        match answer.get(NLMSG_HDR..NLMSG_HDR + 4) {
            Some(&[a, b, c, d]) => match i32::from_ne_bytes([a, b, c, d]) {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(-errno)),
            },
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// `struct audit_rule_data` without strings.
fn encoded(rule: &Rule<'_>) -> Vec<u32> {
    let (filter, calls, fields) = match rule {
        Rule::Record(calls, fields) => (FILTER_EXIT, **calls, *fields),
        Rule::Silence(fields) => (FILTER_EXCLUDE, CALLS_ALL, *fields),
    };
    let mut lists = [[0_u32; 64]; 3];
    let [kinds, values, operators] = &mut lists;
    let slots = kinds.iter_mut().zip(values.iter_mut()).zip(operators.iter_mut());
    for (((kind, value), operator), field) in slots.zip(fields) {
        (*kind, *operator, *value) = field.encoded();
    }
    let mut words = vec![filter, ALWAYS, fields.len() as u32];
    words.extend_from_slice(&calls);
    lists.iter().for_each(|list| words.extend_from_slice(list));
    words.push(0);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_lies_as_the_kernel_reads_it() {
        let words = encoded(&Rule::Record(&CALLS_ALL, &[Field::UidFrom(1000), Field::Errno(libc::EACCES)]));
        assert_eq!(words.len() * 4, 1040);
        assert_eq!(words[..4], [4, 2, 2, u32::MAX]);
        assert_eq!(words[67..70], [1, 103, 0]);
        assert_eq!(words[131..134], [1000, (-13_i32).cast_unsigned(), 0]);
        assert_eq!(words[195..198], [0x6000_0000, 0x4000_0000, 0]);
        assert_eq!(encoded(&Rule::Silence(&[Field::Kind(1307)]))[..3], [5, 2, 1]);
    }
}
