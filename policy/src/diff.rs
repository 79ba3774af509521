//! What a new manifest lets an app do that the old one did not, and the other way round, in words.
//!
//! Every fact is compared: [`facts`] takes both apart field by field, so that a new field of `Facts` does not compile
//! until somebody has decided here what it is worth. In doubt a change counts as a gain, so that whoever stops on gains
//! stops too often rather than too rarely.
//!
//! What it does not know: what the program does with its authority. A changed program with the same manifest is the same
//! to it.

use crate::facts::{Facts, SystemGrant};
use crate::manifest::Manifest;
use crate::net::HostPort;
use crate::seccomp::{self, Answer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// Which way a difference goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The new one may do more, or is held by less.
    Gain,
    /// The new one may do less.
    Loss,
    /// Something else changed: what runs, when it is started again. No authority.
    Change,
}

/// One difference between two manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which way it goes.
    pub direction: Direction,
    /// The key in the manifest, as `network.connect`; `syscalls` for what a profile and other lines come to.
    pub key: &'static str,
    /// In words, without full stop.
    pub text: String,
}

/// All that is different, gains first, in the order of the manifest's reference.
pub fn diff(old: &Manifest, new: &Manifest) -> Vec<Difference> {
    let mut found = Differences::default();
    facts(&old.facts, &new.facts, &mut found);
    found.syscalls(&old.facts, &new.facts);
    found.reach(&old.facts, &new.facts);
    found.0.sort_by_key(|difference| difference.direction);
    found.0
}

fn facts(old: &Facts, new: &Facts, found: &mut Differences) {
    // No `..` here: whoever adds a field decides below.
    let Facts {
        id,
        version,
        program,
        arguments,
        environment,
        working_directory,
        memory,
        cpu,
        tasks,
        storage,
        tmp,
        open_files,
        profile,
        jit,
        sysv_shm,
        connect,
        listen,
        private,
        devices,
        uses,
        provides,
        restart,
        watchdog,
        stop_timeout,
        notify,
        system,
    } = old;

    if *id != new.id {
        let text = format!("is another app: {} instead of {id}, with other data and other callers", new.id);
        found.add(Direction::Gain, "app.id", text);
    }
    if *version != new.version {
        let back = if new.version < *version { ", which goes down: no device takes that" } else { "" };
        found.change("app.version", format!("version {} instead of {version}{back}", new.version));
    }
    let exec = |program: &dyn Display, arguments: &[crate::Argument]| {
        let rest: String = arguments.iter().map(|argument| format!(" {argument}")).collect();
        format!("{program}{rest}")
    };
    let (before, now) = (exec(program, arguments), exec(&new.program, &new.arguments));
    if before != now || *arguments != new.arguments {
        found.change("app.exec", format!("runs `{now}` instead of `{before}`"));
    }

    found.limit("resources.memory", "memory", memory, &new.memory);
    found.limit("resources.cpu", "CPU time", cpu, &new.cpu);
    found.limit("resources.tasks", "processes and threads", tasks, &new.tasks);
    found.limit("resources.storage", "storage at /data", storage, &new.storage);
    found.limit("resources.tmp", "/tmp", tmp, &new.tmp);
    found.limit("resources.open_files", "open files per process", open_files, &new.open_files);

    if *profile != new.profile {
        let direction = if new.profile > *profile { Direction::Gain } else { Direction::Loss };
        let text = format!("syscall profile \"{}\" instead of \"{profile}\"", new.profile);
        found.add(direction, "process.profile", text);
    }
    match (jit, new.jit) {
        (false, true) => found.add(
            Direction::Gain,
            "process.jit",
            "JIT IS ON: W^X IS LIFTED, so memory that is written can be run, an attacker's too".to_owned(),
        ),
        (true, false) => {
            found.add(Direction::Loss, "process.jit", "jit is off: W^X holds again".to_owned());
        }
        _ => {}
    }
    match (sysv_shm, new.sysv_shm) {
        (false, true) => {
            let text = "its processes may share memory by System V calls".to_owned();
            found.add(Direction::Gain, "process.sysv_shm", text);
        }
        (true, false) => {
            let text = "its processes may not share memory by System V calls any more".to_owned();
            found.add(Direction::Loss, "process.sysv_shm", text);
        }
        _ => {}
    }
    let variables =
        |all: &BTreeMap<_, _>| all.iter().map(|(n, v)| format!("{n}={v}")).collect::<BTreeSet<_>>();
    let (before, now) = (variables(environment), variables(&new.environment));
    for set in now.difference(&before) {
        found.change("process.environment", format!("environment: {set}"));
    }
    for gone in before.difference(&now) {
        found.change("process.environment", format!("environment: no {gone} any more"));
    }
    if *working_directory != new.working_directory {
        let text = format!("starts in {} instead of {working_directory}", new.working_directory);
        found.change("process.working_directory", text);
    }

    found.set("network.connect", connect, &new.connect, |to| format!("may connect to {to}"));
    found.set("network.listen", listen, &new.listen, |listen| {
        let whom = if listen.is_local() { " by apps on the device" } else { "" };
        format!("may be reached at {}{whom}", listen.port())
    });
    found.set("network.private", private, &new.private, |host| {
        format!("may connect to private and link-local addresses, if {host} has them")
    });
    found.set("devices", devices, &new.devices, |device| {
        format!("may hold {} ({}), for itself alone", device.path(), device.class().key())
    });
    let calls = |all| pairs(all, |interface, method| format!("may call {interface}.{method}"));
    found.set("uses", &calls(uses), &calls(&new.uses), Clone::clone);
    let callers =
        |all| pairs(all, |interface, app| format!("serves {interface} to {app}, which may call it"));
    found.set("provides", &callers(provides), &callers(&new.provides), Clone::clone);
    let served = |all: &BTreeMap<_, Vec<_>>| -> Vec<String> {
        all.iter().filter(|(_, apps)| apps.is_empty()).map(|(name, _)| format!("serves {name}")).collect()
    };
    found.set("provides", &served(provides), &served(&new.provides), Clone::clone);

    if *restart != new.restart {
        found.change("lifecycle.restart", format!("started again {} instead of {restart}", new.restart));
    }
    match (watchdog, &new.watchdog) {
        (Some(before), None) => {
            let text = format!("may hang unseen: no watchdog any more ({before} before)");
            found.add(Direction::Gain, "lifecycle.watchdog", text);
        }
        (None, Some(now)) => {
            let text = format!("is ended when it is silent for {now}: a watchdog");
            found.add(Direction::Loss, "lifecycle.watchdog", text);
        }
        (Some(before), Some(now)) => found.limit("lifecycle.watchdog", "silence", before, now),
        (None, None) => {}
    }
    found.limit("lifecycle.stop_timeout", "time to stop in", stop_timeout, &new.stop_timeout);
    if *notify != new.notify {
        let text = if new.notify { "says when it is up" } else { "does not say when it is up any more" };
        found.change("lifecycle.notify", text.to_owned());
    }
    system_grants(system.as_ref(), new.system.as_ref(), found);
}

fn system_grants(old: Option<&SystemGrant>, new: Option<&SystemGrant>, found: &mut Differences) {
    let none = SystemGrant::default();
    // As above.
    let SystemGrant { capabilities, host_pids, network: managed, on_demand, filter } = old.unwrap_or(&none);
    let new = new.unwrap_or(&none);
    let bits =
        |mask: u64| (0..64).filter(|number| mask & (1 << number) != 0).map(crate::capability::name).collect();
    let (before, now): (Vec<_>, Vec<_>) = (bits(*capabilities), bits(new.capabilities));
    found.set("system.capabilities", &before, &now, |name| format!("holds {name}"));
    let pids = |shared: bool| if shared { vec!["sees every process of the device"] } else { Vec::new() };
    found.set("system.host_pids", &pids(*host_pids), &pids(new.host_pids), |text| (*text).to_owned());
    let network = |manages: bool| if manages { vec!["manages the device's network"] } else { Vec::new() };
    found.set("system.network", &network(*managed), &network(new.network), |text| (*text).to_owned());
    if *on_demand != new.on_demand {
        let text = if new.on_demand { "started only once it is used" } else { "started at once" };
        found.change("system.on_demand", text.to_owned());
    }
    if *filter != new.filter {
        let name = |filter: Option<crate::SystemFilter>| filter.map_or("its profile's", |f| f.as_str());
        let text = format!("syscall filter: {} instead of {}", name(new.filter), name(*filter));
        found.change("system.filter", text);
    }
}

/// `interface` and each of its names, in words.
fn pairs<N: Display, T: Display>(all: &BTreeMap<N, Vec<T>>, say: impl Fn(&N, &T) -> String) -> Vec<String> {
    all.iter().flat_map(|(name, list)| list.iter().map(|one| say(name, one)).collect::<Vec<_>>()).collect()
}

/// Past the last syscall number of any table.
const SYSCALLS_MAX: i64 = 1024;

/// Every syscall that some table knows.
fn known_syscalls() -> &'static [(i64, &'static str)] {
    static KNOWN: std::sync::OnceLock<Vec<(i64, &'static str)>> = std::sync::OnceLock::new();
    KNOWN.get_or_init(|| {
        (0..SYSCALLS_MAX).filter_map(|number| seccomp::name(number).map(|name| (number, name))).collect()
    })
}

/// How much of a call an answer lets through.
fn rank(answer: &Answer) -> u8 {
    match answer {
        Answer::Allowed => 2,
        Answer::AllowedIf(_) => 1,
        Answer::Killed | Answer::Absent | Answer::Refused => 0,
    }
}

fn shown(name: &str, answer: &Answer) -> String {
    match answer {
        Answer::AllowedIf(what) => format!("{name} ({what})"),
        _ => name.to_owned(),
    }
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, direction: Direction, key: &'static str, text: String) {
        self.0.push(Difference { direction, key, text });
    }

    fn change(&mut self, key: &'static str, text: String) {
        self.add(Direction::Change, key, text);
    }

    fn limit<T: PartialOrd + Display>(&mut self, key: &'static str, what: &str, old: &T, new: &T) {
        let text = |how| format!("{what} {how} from {old} to {new}");
        if new > old {
            self.add(Direction::Gain, key, text("up"));
        } else if new < old {
            self.add(Direction::Loss, key, text("down"));
        }
    }

    /// What is in one list and not in the other, wherever it stands there.
    fn set<T: PartialEq>(&mut self, key: &'static str, old: &[T], new: &[T], say: impl Fn(&T) -> String) {
        for gained in new.iter().filter(|one| !old.contains(one)) {
            self.add(Direction::Gain, key, say(gained));
        }
        for lost in old.iter().filter(|one| !new.contains(one)) {
            self.add(Direction::Loss, key, say(lost));
        }
    }

    /// What profile, grants and `jit` come to, call by call.
    fn syscalls(&mut self, old: &Facts, new: &Facts) {
        let (mut more, mut less) = (Vec::new(), Vec::new());
        // The tables are long: nothing to look for where both come to the same program.
        if seccomp::programs(old) == seccomp::programs(new) {
            return;
        }
        for (number, name) in known_syscalls().iter().copied() {
            let (before, now) = (seccomp::answer(old, number), seccomp::answer(new, number));
            let (gains, loses) = (!seccomp::covers(old, new, number), !seccomp::covers(new, old, number));
            if before == now && !gains && !loses {
                continue;
            }
            if rank(&now).max(rank(&before)) == 0 {
                self.change("syscalls", format!("`{name}` is refused in another way"));
            } else if !gains && loses {
                less.push(shown(name, &before));
            } else {
                more.push(shown(name, &now));
            }
        }
        if !more.is_empty() {
            let text = format!("{} syscalls more, or with more arguments: {}", more.len(), more.join(", "));
            self.add(Direction::Gain, "syscalls", text);
        }
        if !less.is_empty() {
            let text = format!("{} syscalls less, or with fewer arguments: {}", less.len(), less.join(", "));
            self.add(Direction::Loss, "syscalls", text);
        }
    }

    /// Whether it leaves the device at all.
    fn reach(&mut self, old: &Facts, new: &Facts) {
        let beyond = |facts: &Facts| facts.connect.iter().map(HostPort::host).any(|host| !host.is_local());
        match (beyond(old), beyond(new)) {
            (false, true) => self.add(Direction::Gain, "network", "reaches beyond the device".to_owned()),
            (true, false) => {
                self.add(Direction::Loss, "network", "does not reach beyond the device any more".to_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Board, check, check_system};

    const APP: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";

    fn manifest(rest: &str) -> Manifest {
        check(&format!("{APP}{rest}"), &Board::default()).unwrap()
    }

    fn between(old: &str, new: &str) -> Vec<(Direction, &'static str, String)> {
        diff(&manifest(old), &manifest(new)).into_iter().map(|d| (d.direction, d.key, d.text)).collect()
    }

    /// One line that gives more than no line, for every key that grants something.
    const GRANTS: [(&str, &str, &str); 13] = [
        ("[resources]\nmemory = \"32MiB\"", "resources.memory", "memory up from 16MiB to 32MiB"),
        ("[resources]\ncpu = \"50%\"", "resources.cpu", "CPU time up from 20% to 50%"),
        ("[resources]\ntasks = 40", "resources.tasks", "processes and threads up from 16 to 40"),
        ("[resources]\nstorage = \"1MiB\"", "resources.storage", "storage at /data up from 0KiB to 1MiB"),
        ("[resources]\ntmp = \"2MiB\"", "resources.tmp", "/tmp up from 1MiB to 2MiB"),
        (
            "[resources]\nopen_files = 512",
            "resources.open_files",
            "open files per process up from 256 to 512",
        ),
        ("[process]\njit = true", "process.jit", "JIT IS ON"),
        ("[process]\nsysv_shm = true", "process.sysv_shm", "System V"),
        ("[network]\nlisten = [\"80/tcp\"]", "network.listen", "may be reached at 80/tcp"),
        ("[network]\nconnect = [\"a.example:1/tcp\"]", "network.connect", "may connect to a.example:1/tcp"),
        ("[devices]\nserial = [\"/dev/ttyS1\"]", "devices", "may hold /dev/ttyS1 (serial)"),
        ("[uses]\n\"os.gabion.Update\" = [\"Defer\"]", "uses", "may call os.gabion.Update.Defer"),
        (
            "[provides]\n\"com.example.T\" = [\"com.example.b\"]",
            "provides",
            "serves com.example.T to com.example.b",
        ),
    ];

    #[test]
    fn diff_of_a_manifest_with_itself_is_empty() {
        for (line, ..) in GRANTS {
            assert_eq!(between(line, line), []);
        }
    }

    #[test]
    fn diff_of_a_grant_is_a_gain_and_its_removal_a_loss() {
        for (line, key, text) in GRANTS {
            let gains = between("", line);
            assert!(gains.iter().all(|(direction, ..)| *direction == Direction::Gain), "{gains:?}");
            assert!(gains.iter().any(|(_, k, t)| *k == key && t.contains(text)), "{line}: {gains:?}");
            let losses = between(line, "");
            assert!(losses.iter().all(|(direction, ..)| *direction == Direction::Loss), "{losses:?}");
            assert!(losses.iter().any(|(_, k, _)| *k == key), "{line}: {losses:?}");
        }
    }

    #[test]
    fn diff_of_a_wider_profile_names_the_calls() {
        let wider = between("[process]\nprofile = \"strict\"", "");
        let calls =
            wider.iter().find(|(direction, key, _)| (*direction, *key) == (Direction::Gain, "syscalls"));
        let (.., text) = calls.unwrap();
        assert!(text.contains("wait4") && text.contains("clone (without new namespaces)"), "{text}");
        assert!(text.contains("ioctl (asking about descriptors and terminals"), "{text}");
        assert!(wider.iter().all(|(direction, ..)| *direction == Direction::Gain));
        let narrower = between("", "[process]\nprofile = \"strict\"");
        assert!(narrower.iter().all(|(direction, ..)| *direction == Direction::Loss), "{narrower:?}");
    }

    #[test]
    fn diff_of_first_host_beyond_the_device_says_so() {
        let local = "[network]\nconnect = [\"localhost:1/tcp\"]";
        let beyond = "[network]\nconnect = [\"localhost:1/tcp\", \"b.example:1/tcp\"]";
        assert!(between(local, beyond).iter().any(|(_, _, text)| text == "reaches beyond the device"));
        assert!(between("", local).iter().all(|(_, _, text)| text != "reaches beyond the device"));
    }

    #[test]
    fn diff_of_what_is_no_authority_is_a_change() {
        let new = "[process]\nenvironment = { A = \"1\" }\nworking_directory = \"/data\"\n\
                   [lifecycle]\nrestart = \"always\"\n";
        let changes = between("", new);
        assert_eq!(
            changes.iter().map(|(_, key, _)| *key).collect::<Vec<_>>(),
            ["process.environment", "process.working_directory", "lifecycle.restart"]
        );
        assert!(changes.iter().all(|(direction, ..)| *direction == Direction::Change));
        let moved = between(
            "[network]\nlisten = [\"1/tcp\", \"2/tcp\"]",
            "[network]\nlisten = [\"2/tcp\", \"1/tcp\"]",
        );
        assert_eq!(moved, [], "an order says nothing");
    }

    #[test]
    fn diff_of_being_watched_less_is_a_gain() {
        let watched = |time: &str| format!("[lifecycle]\nwatchdog = \"{time}\"");
        let gained = |old: &str, new: &str| {
            between(old, new).iter().any(|(d, key, _)| (*d, *key) == (Direction::Gain, "lifecycle.watchdog"))
        };
        assert!(gained(&watched("1s"), ""));
        assert!(gained(&watched("1s"), &watched("2s")));
        assert!(!gained("", &watched("1s")) && !gained(&watched("2s"), &watched("1s")));
    }

    #[test]
    fn diff_of_system_manifests_names_capabilities() {
        let text = |rest: &str| {
            format!("[app]\nid = \"os.gabion.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n{rest}")
        };
        let read = |rest: &str| check_system(&text(rest), &Board::default()).unwrap().manifest().clone();
        let found = diff(&read(""), &read("[system]\ncapabilities = [\"CAP_KILL\"]\nhost_pids = true"));
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|d| d.direction == Direction::Gain));
        assert!(found.iter().any(|d| d.text == "holds CAP_KILL"));
    }
}
