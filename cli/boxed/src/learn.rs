//! From a recording to a proposal: what was seen, in the manifest's own terms, each with its evidence.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::libc;
use policy::learn::{Learnt, Need, Proposal, Seen, call_name, candidates, printable, propose, widest};
use policy::{
    Board, Bytes, Device, DeviceClass, Host, HostPort, InterfaceName, Listen, MethodName, Proto, is_private,
};

use crate::app::App;
use crate::error::Error;
use crate::record::{Record, Table, Times, Use};
use crate::run::{Run, Wish, run};

/// What a recording came to.
#[derive(Debug)]
pub struct Learned {
    /// The recording that the proposal is from.
    pub run: Run,
    /// The manifest.
    pub proposal: Proposal,
}

/// Records the program of `app` and proposes its manifest. With W^X in force first; if the program asked for memory
/// against it and failed, once more without. `tell` hears of that.
///
/// # Errors
/// Whatever keeps the program from being recorded; the problems of a manifest that no board would take.
pub fn learn(app: &App, wish: &Wish<'_>, tell: impl Fn(&str)) -> Result<Learned, Error> {
    let filters = candidates(&app.manifest);
    let given = policy::compile(&app.manifest);
    let (given, watched) = (given.jit, given.lifecycle.watchdog_ms.is_some());
    let record = |jit: bool| {
        let mut plan = widest(&app.manifest, jit);
        // Every port but 0: which ones it needs is what we want to know.
        plan.landlock.bind_tcp = (1..=u16::MAX).collect();
        plan.landlock.connect_tcp = (1..=u16::MAX).collect();
        run(app, plan, &filters, wish)
    };
    let mut recorded = record(given)?;
    if !given && !recorded.end.is_good() && wants_jit(&recorded.record) {
        tell(
            "it asked for memory that is written and run, was refused, and failed: once more with W^X lifted",
        );
        let lifted = record(true)?;
        // Where that did not help, it failed for another reason.
        if lifted.end.is_good() {
            recorded = lifted;
        }
    }
    let mut remarks = remarks(&recorded);
    if recorded.record.notices.contains("WATCHDOG=1") && !watched {
        remarks.push("it says WATCHDOG=1: `[lifecycle] watchdog` would hold it to that".to_owned());
    }
    let learnt = learnt(&recorded.record, &mut remarks);
    let proposal = propose(&app.manifest, &learnt, &Board::default());
    let mut proposal =
        proposal.map_err(|all| Error::Manifest(all.iter().map(ToString::to_string).collect()))?;
    proposal.remarks.extend(remarks);
    proposal.remarks.iter_mut().for_each(|remark| *remark = printable(remark));
    Ok(Learned { run: recorded, proposal })
}

/// Whether it was refused what only `jit` allows: executable memory that it could write, by one way or another.
fn wants_jit(record: &Record) -> bool {
    record.executable_memory.contains_key(&true) || record.refused.contains_key(&(MEMFD_CREATE, libc::EPERM))
}

/// Memory mapped twice, once for writing and once for running, is made by this call.
const MEMFD_CREATE: u32 = libc::SYS_memfd_create as u32;

/// Calls that failed for want of a permission in `again`, a run under `proposal`, and not so in the recording; not those
/// that the proposal says it refuses.
pub fn newly_refused(learned: &Learned, again: &Record) -> Vec<String> {
    let (before, expected) = (&learned.run.record.refused, &learned.proposal.refused);
    let new = again.refused.iter().filter(|(key, _)| !before.contains_key(key) && !expected.contains(&key.0));
    new.map(|((number, errno), times)| {
        format!("{} {}: {}", name(*number), times.text(), nix::errno::Errno::from_raw(*errno))
    })
    .collect()
}

/// The kernel's name of a system call.
fn name(number: u32) -> String {
    call_name(number).map_or_else(|| sandboxd::syscalls::name(number.into()), str::to_owned)
}

fn learnt(record: &Record, remarks: &mut Vec<String>) -> Learnt {
    let (storage, tmp) =
        (written(record, &["/data"], record.data), written(record, &["/tmp", "/dev/shm"], record.tmp));
    let calls = record.calls.iter().map(|(call, times)| ((*call, name(call.number)), times.text()));
    let megabytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    Learnt {
        connect: connects(record),
        listen: listens(record),
        private: private(record),
        uses: methods(record, remarks),
        devices: devices(record, remarks),
        calls: calls.collect(),
        jit: jit(record),
        notify: record
            .notices
            .contains("READY=1")
            .then(|| "READY=1 was said on the notify socket".to_owned()),
        storage,
        tmp,
        memory: Some(Need {
            least: mebibytes(record.memory),
            ask: mebibytes(record.memory / 2 * 3 + record.tmp + (1 << 20)),
            evidence: format!(
                "peak of {} resident, half as much again, and what /tmp held",
                megabytes(record.memory)
            ),
        }),
        tasks: Some(Need {
            least: record.tasks,
            ask: record.tasks + record.tasks.div_ceil(4),
            evidence: format!("{} at once, a quarter more", record.tasks),
        }),
        open_files: open_files(record),
    }
}

/// Descriptors in one process, where the default is too few.
fn open_files(record: &Record) -> Option<Need<u32>> {
    let asked = u32::try_from(record.open_files).unwrap_or_default();
    let (least, ask, evidence) = if asked > record.descriptor {
        (asked, asked, "setrlimit() asked for as many, and was given them".to_owned())
    } else {
        let (last, room) = (record.descriptor, record.descriptor / 4);
        (last + 1, last + room + 1, format!("descriptor {last} was open, a quarter more"))
    };
    (least > OPEN_FILES).then_some(Need { least, ask, evidence })
}

/// What a manifest without a line gives.
const OPEN_FILES: u32 = 256;

/// What shows that it needs `jit`: nothing, where W^X was in force.
fn jit(record: &Record) -> Option<String> {
    if let Some(times) = record.executable_memory.get(&false) {
        return Some(format!("writable and executable memory was made {}", times.text()));
    }
    let (_, times) = record.calls.iter().find(|(call, _)| call.number == MEMFD_CREATE)?;
    let refused = record.refused.contains_key(&(MEMFD_CREATE, libc::EPERM));
    (!refused).then(|| format!("memfd_create() was called {}, and it failed without", times.text()))
}

/// Rounded up to whole MiB, one at least.
fn mebibytes(bytes: u64) -> Bytes {
    Bytes::mebibytes(bytes.div_ceil(1 << 20).max(1))
}

/// Adds evidence for `what`, which may be there already under another address.
fn merge<T: Ord>(all: &mut BTreeMap<T, String>, what: T, evidence: String) {
    let entry = all.entry(what).or_default();
    if !entry.is_empty() {
        entry.push_str("; ");
    }
    entry.push_str(&evidence);
}

fn connects(record: &Record) -> Vec<Seen<HostPort>> {
    let mut all = BTreeMap::new();
    for ((to, proto), times) in &record.connects {
        let name = record.names.get(&to.ip()).filter(|_| !is_local(to.ip()));
        let known = name.and_then(|name| name.parse::<Host>().ok());
        let host = known.as_ref().map_or_else(|| address(to.ip()), ToString::to_string);
        let Ok(line) = format!("{host}:{}/{proto}", to.port()).parse::<HostPort>() else { continue };
        let act = if *proto == Proto::Tcp { "connect()" } else { "sent" };
        let unnamed = if known.is_none() && !is_local(to.ip()) { ", whose name was not seen" } else { "" };
        merge(&mut all, line, format!("{act} to {to}{unnamed} {}", times.text()));
    }
    all.into_iter().collect()
}

/// Hosts by name at addresses that a resolver on the device keeps back unless the manifest says so.
fn private(record: &Record) -> Vec<Seen<Host>> {
    let mut all = BTreeMap::new();
    for ((to, _), times) in record.connects.iter().filter(|((to, _), _)| is_private(to.ip())) {
        if let Some(host) = record.names.get(&to.ip()).and_then(|name| name.parse::<Host>().ok()) {
            merge(&mut all, host, format!("connect() to {} {}", to.ip(), times.text()));
        }
    }
    all.into_iter().filter(|(host, _)| host.is_name()).collect()
}

/// Whether the address is what a manifest calls `localhost`.
fn is_local(address: IpAddr) -> bool {
    matches!(address.to_string().as_str(), "127.0.0.1" | "::1" | "0.0.0.0" | "::")
}

fn address(address: IpAddr) -> String {
    match address {
        address if is_local(address) => "localhost".to_owned(),
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    }
}

fn listens(record: &Record) -> Vec<Seen<Listen>> {
    let mut all = BTreeMap::new();
    for ((at, proto), times) in &record.listens {
        let whom = if at.ip().is_loopback() { "localhost:" } else { "" };
        if let Ok(line) = format!("{whom}{}/{proto}", at.port()).parse::<Listen>() {
            merge(&mut all, line, format!("bind() at {at} {}", times.text()));
        }
    }
    all.into_iter().collect()
}

fn methods(record: &Record, remarks: &mut Vec<String>) -> Vec<Seen<(InterfaceName, MethodName)>> {
    let mut all = Vec::new();
    for ((interface, method), times) in &record.methods {
        // Every server has it, whoever calls.
        if interface == "org.varlink.service" {
            continue;
        }
        let may = policy::bus::may_name(interface, method, false);
        match (may, interface.parse(), method.parse()) {
            (Ok(()), Ok(interface), Ok(method)) => {
                all.push(((interface, method), format!("called {}", times.text())));
            }
            (may, ..) => {
                let why = may.err().map_or_else(String::new, |invalid| format!(": {invalid}"));
                remarks.push(format!(
                    "no manifest can grant the call of {interface}.{method} {}{why}",
                    times.text()
                ));
            }
        }
    }
    if !all.is_empty() {
        remarks.push(
            "calls on the bus were answered by a stand-in, not by a device (--answers gives it replies)"
                .to_owned(),
        );
    }
    for ((path, errno), times) in &record.unix {
        let absent = path.strip_prefix("/run/bus/").or_else(|| path.strip_prefix("/run/serve/"));
        if let (Some(interface), libc::ENOENT) = (absent, *errno) {
            let table = if path.starts_with("/run/bus/") { "uses" } else { "provides" };
            remarks.push(format!(
                "{path} was asked for {} and was not there: name \"{interface}\" below [{table}] of the given manifest, and \
                 record again",
                times.text()
            ));
        }
    }
    all
}

/// Below `/dev`, and in every box: nothing to grant.
const COMMON_DEVICES: [&str; 10] = [
    "/dev",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/fd",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/stderr",
];

fn devices(record: &Record, remarks: &mut Vec<String>) -> Vec<Seen<Device>> {
    let mut all = BTreeMap::new();
    for ((path, _, errno), times) in &record.files {
        let other =
            !path.starts_with("/dev/") || path.starts_with("/dev/shm") || path.starts_with("/dev/fd/");
        if other || COMMON_DEVICES.contains(&path.as_str()) {
            continue;
        }
        let classes = DeviceClass::ALL.into_iter().filter(|class| !class.system_only());
        match classes.into_iter().find_map(|class| Device::new(class, path).ok()) {
            Some(device) => {
                let absent = if *errno == 0 { "" } else { ", which was not in the recording's box" };
                merge(&mut all, device, format!("opened{absent} {}", times.text()));
            }
            None => remarks.push(format!("no manifest can grant {path}, asked for {}", times.text())),
        }
    }
    all.into_iter().collect()
}

/// Room for what was written below `places`: twice the most that lay there.
fn written(record: &Record, places: &[&str], peak: u64) -> Option<Need<Bytes>> {
    let below = |path: &str| {
        places.iter().any(|place| {
            path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let files = record
        .files
        .iter()
        .filter(|((path, what, errno), _)| *what == Use::Write && *errno == 0 && below(path));
    let mut seen: Vec<(&str, &Times)> = files.map(|((path, ..), times)| (path.as_str(), times)).collect();
    seen.dedup_by_key(|(path, _)| *path);
    let (first, times) = seen.first()?;
    let more = seen.len() - 1;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let evidence =
        format!("{first}{more} written {}; {} KiB at most, doubled", times.text(), peak.div_ceil(1024));
    Some(Need { least: mebibytes(peak), ask: mebibytes(peak * 2), evidence })
}

/// What its author should know besides.
fn remarks(run: &Run) -> Vec<String> {
    let record = &run.record;
    let mut remarks = Vec::new();
    if !run.end.is_good() {
        remarks.push(format!("the program ended badly ({:?}): it may not have done all it does", run.end));
    }
    if let Some(times) = record.executable_memory.get(&true) {
        remarks.push(format!(
            "memory that is writable and executable was asked for {}, refused, and the program went on: jit stays off",
            times.text()
        ));
    }
    if record.port_chosen_by_the_kernel.count > 0 {
        let by = record.port_chosen_by_the_kernel.text();
        remarks
            .push(format!("bind() to TCP port 0 {by}: no manifest can grant a port that the kernel chooses"));
    }
    for (port, times) in &record.privileged_ports {
        remarks.push(format!(
            "bind() to port {port} {} was refused: ports below 1024 are for those who hold a capability, which no app does",
            times.text()
        ));
    }
    if record.connects.keys().any(|(to, proto)| to.port() == 53 && *proto == Proto::Udp) {
        remarks.push("port 53 is a name server's: which one a device has, its network says".to_owned());
    }
    remarks.extend(refused_files(&record.files));
    if record.dropped > 0 {
        remarks.push(format!("{} things were too many to keep", record.dropped));
    }
    remarks
}

/// Longest list of files in a remark.
const FILES_SHOWN: usize = 5;

fn refused_files(files: &Table<(String, Use, i32)>) -> Vec<String> {
    let mut remarks = Vec::new();
    let kinds: [(Use, &[i32], &str); 3] = [
        (
            Use::Write,
            &[libc::EROFS],
            "could not be written: the app's root is read-only, write below /data or /tmp",
        ),
        (
            Use::Execute,
            &[libc::EACCES, libc::EPERM],
            "could not be run: only the app's own files are programs",
        ),
        (Use::Read, &[libc::EACCES], "could not be read: files of the root must be readable for everybody"),
    ];
    for (what, errors, why) in kinds {
        let found = files.iter().filter(|((_, how, errno), _)| *how == what && errors.contains(errno));
        let found: Vec<String> =
            found.map(|((path, ..), times)| format!("{path} ({})", times.text())).collect();
        if !found.is_empty() {
            let shown = found.iter().take(FILES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let more = found.len().saturating_sub(FILES_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            remarks.push(format!("{shown}{more} {why}"));
        }
    }
    remarks
}
