//! What was seen, each kind of thing once, with how often and by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use policy::Proto;
use policy::filter::Call;

/// Most different things of one kind that are kept; what comes after them is counted in [`Record::dropped`]. Far beyond
/// what a manifest can name; a program that opens ever new paths must not fill our memory.
pub const KINDS_MAX: usize = 4096;

/// How often something was seen, and by which programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// Names of processes, as the kernel has them.
    pub by: BTreeSet<String>,
}

impl Times {
    /// `by sh and nc, 3 times`.
    pub fn text(&self) -> String {
        let names: Vec<&str> = self.by.iter().map(String::as_str).collect();
        let shown = match names.split_at_checked(4) {
            Some((shown, rest)) if !rest.is_empty() => {
                format!("{} and {} more", shown.join(", "), rest.len())
            }
            _ => names.join(", "),
        };
        match self.count {
            1 => format!("by {shown}"),
            2 => format!("by {shown}, twice"),
            count => format!("by {shown}, {count} times"),
        }
    }
}

/// Things of one kind.
pub type Table<K> = BTreeMap<K, Times>;

/// What a file was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Opened for reading.
    Read,
    /// Opened for writing, made, moved or removed.
    Write,
    /// Run.
    Execute,
}

/// All that a program was seen to do.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// System calls; arguments that no filter looks at are 0.
    pub calls: Table<Call>,
    /// System calls that failed for want of a permission, by number and errno: EPERM, EACCES, EROFS.
    pub refused: Table<(u32, i32)>,
    /// Files by path in the box, with errno (0: it worked).
    pub files: Table<(String, Use, i32)>,
    /// Destinations that were connected or sent to.
    pub connects: Table<(SocketAddr, Proto)>,
    /// Addresses listened at.
    pub listens: Table<(SocketAddr, Proto)>,
    /// `bind` to TCP port 0, which no manifest can grant.
    pub port_chosen_by_the_kernel: Times,
    /// Ports below 1024 where `bind` was refused.
    pub privileged_ports: Table<u16>,
    /// Methods called on the bus: interface, method.
    pub methods: Table<(String, String)>,
    /// Unix sockets connected to, by path in the box, with errno.
    pub unix: Table<(String, i32)>,
    /// Requests for memory that is writable and executable, or becomes executable: with whether they were refused.
    pub executable_memory: Table<bool>,
    /// Names that were asked for, with the addresses that were answered.
    pub names: BTreeMap<std::net::IpAddr, String>,
    /// What it said on its notify socket: `READY=1`, `WATCHDOG=1`.
    pub notices: BTreeSet<&'static str>,
    /// Most tasks at once.
    pub tasks: u32,
    /// Highest descriptor.
    pub descriptor: u32,
    /// Most open files that somebody asked for, and was given at the first try: who tries lower numbers until one is
    /// given can do without.
    pub open_files: u64,
    /// Most memory at once, in bytes: the sum of its processes' largest resident sets.
    pub memory: u64,
    /// Most bytes below `/tmp`.
    pub tmp: u64,
    /// Most bytes below `/data`.
    pub data: u64,
    /// What was beyond [`KINDS_MAX`].
    pub dropped: u64,
}

/// Counts one more of `key` in `table`, if there is room.
pub(crate) fn count<K: Ord>(table: &mut Table<K>, dropped: &mut u64, key: K, by: &str) {
    if table.len() >= KINDS_MAX && !table.contains_key(&key) {
        *dropped += 1;
        return;
    }
    let times = table.entry(key).or_default();
    times.count += 1;
    if times.by.len() < 32 {
        times.by.insert(by.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_words() {
        let mut table = Table::new();
        let mut dropped = 0;
        count(&mut table, &mut dropped, 1, "sh");
        assert_eq!(table[&1].text(), "by sh");
        count(&mut table, &mut dropped, 1, "nc");
        assert_eq!(table[&1].text(), "by nc, sh, twice");
        for name in ["a", "b", "c"] {
            count(&mut table, &mut dropped, 1, name);
        }
        assert_eq!(table[&1].text(), "by a, b, c, nc and 1 more, 5 times");
    }

    #[test]
    fn kinds_beyond_the_bound_are_counted_and_not_kept() {
        let (mut table, mut dropped) = (Table::new(), 0);
        for n in 0..KINDS_MAX + 5 {
            count(&mut table, &mut dropped, n, "x");
        }
        count(&mut table, &mut dropped, 0, "x");
        assert_eq!((table.len(), dropped, table[&0].count), (KINDS_MAX, 5, 2));
    }
}
