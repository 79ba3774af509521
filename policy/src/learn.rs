//! From what a program was seen to do to the smallest manifest that lets it do so, with the evidence for every line.
//!
//! Pure: who watches, and how, is not known here. The syscall profile is chosen by the compiled filters themselves: the
//! first that answers every recorded call as the widest one would. What the given manifest says is kept; what of it was
//! not seen is marked, for its author to decide.
//!
//! Names of processes and paths come from the program that was watched: they are made printable and end up in comments
//! only. The proposal is read back by [`crate::check`] before anybody gets it.

use crate::amount::{Bytes, Duration};
use crate::facts::{Facts, Profile};
use crate::filter::{self, Call, Reply};
use crate::manifest::{Manifest, check};
use crate::name::{InterfaceName, MethodName};
use crate::net::{Host, HostPort, Listen};
use crate::place::{Device, DeviceClass};
use crate::plan::{Plan, compile, from_facts};
use crate::problem::Problem;
use crate::{Board, bus, seccomp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Something seen, and by what it shows.
pub type Seen<T> = (T, String);

/// How much of something it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need<T> {
    /// What was seen: a given limit from here up is kept.
    pub least: T,
    /// What to propose where nothing is given, or less: with room to spare.
    pub ask: T,
    /// What it rests on.
    pub evidence: String,
}

/// What a program was seen to do.
#[derive(Clone, Debug, Default)]
pub struct Learnt {
    /// Whom it reached.
    pub connect: Vec<Seen<HostPort>>,
    /// Where it could be reached.
    pub listen: Vec<Seen<Listen>>,
    /// Those of `connect` by name that had a private or link-local address.
    pub private: Vec<Seen<Host>>,
    /// What it called.
    pub uses: Vec<Seen<(InterfaceName, MethodName)>>,
    /// What it opened below `/dev`, beyond what every box has.
    pub devices: Vec<Seen<Device>>,
    /// Its system calls, each with its name.
    pub calls: Vec<Seen<(Call, String)>>,
    /// Memory that was writable and executable.
    pub jit: Option<String>,
    /// It said `READY=1`.
    pub notify: Option<String>,
    /// Room below `/data`; `None` when it wrote nothing there.
    pub storage: Option<Need<Bytes>>,
    /// Room below `/tmp`; `None` as above.
    pub tmp: Option<Need<Bytes>>,
    /// Memory.
    pub memory: Option<Need<Bytes>>,
    /// Processes and threads at once.
    pub tasks: Option<Need<u32>>,
    /// Descriptors in one process; only what is more than the default.
    pub open_files: Option<Need<u32>>,
}

/// One line of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The table, as `network`.
    pub table: &'static str,
    /// The key, as `connect`.
    pub key: String,
    /// The value in TOML; of a list, one element.
    pub value: String,
    /// What it rests on; empty for what the given manifest says and no recording can show.
    pub evidence: String,
    /// Whether the line is one element of a list.
    pub element: bool,
}

/// A manifest, and what it rests on.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The text, each line with its evidence as a comment.
    pub text: String,
    /// The same, checked.
    pub manifest: Manifest,
    /// The same, line by line.
    pub lines: Vec<Line>,
    /// What no line can grant, and what else its author should know.
    pub remarks: Vec<String>,
    /// Numbers of the recorded system calls that the proposal's filter refuses: remarked, and expected.
    pub refused: BTreeSet<u32>,
}

/// The widest box a manifest could ask for, for the program of `given`: the last profile, sockets of every kind that can
/// be granted, every method of the system that apps may call, large limits. `jit` lifts W^X.
pub fn widest(given: &Manifest, jit: bool) -> Plan {
    wide(given, Profile::ALL.last().copied().unwrap_or(given.facts.profile), jit)
}

/// The same with each profile, with W^X and without: whatever filter a proposal may come to, one of these looks at the same
/// arguments or more.
pub fn candidates(given: &Manifest) -> Vec<Plan> {
    let each = Profile::ALL.iter().flat_map(|profile| [(*profile, false), (*profile, true)]);
    each.map(|(profile, jit)| wide(given, profile, jit)).collect()
}

fn wide(given: &Manifest, profile: Profile, jit: bool) -> Plan {
    let mut facts = Facts { profile, jit, sysv_shm: true, system: None, ..given.facts.clone() };
    let board = Board::default();
    facts.memory = facts.memory.max(board.memory);
    facts.tmp = facts.memory;
    facts.storage = facts.storage.max(board.storage);
    facts.tasks = facts.tasks.max(board.tasks);
    facts.open_files = facts.open_files.max(board.open_files);
    for text in ["localhost:1/tcp", "localhost:1/udp"] {
        facts.connect.extend(text.parse::<HostPort>());
    }
    for (interface, method, audience) in bus::methods() {
        if let (bus::Audience::Apps, Ok(interface), Ok(method)) =
            (audience, interface.parse(), method.parse())
        {
            facts.uses.entry(interface).or_default().push(method);
        }
    }
    from_facts(facts)
}

/// The kernel's name of a system call that some profile knows.
pub fn call_name(number: u32) -> Option<&'static str> {
    seccomp::name(i64::from(number))
}

/// The smallest manifest that lets a program do what it was seen to do, and whatever `given` says besides.
///
/// # Errors
/// What is wrong with it, when the board's rules allow no such manifest (too many hosts, say).
pub fn propose(given: &Manifest, learnt: &Learnt, board: &Board) -> Result<Proposal, Vec<Problem>> {
    let mut candidates = Vec::new();
    for profile in Profile::ALL.iter().filter(|profile| keeps(given, **profile)) {
        let lines = lines(given, learnt, *profile, board);
        let manifest = check(&text(&lines), board)?;
        let denied = denied(&compile(&manifest), learnt);
        candidates.push((*profile, lines, denied));
    }
    let least = candidates.iter().map(|(.., denied)| denied.len()).min().unwrap_or_default();
    let at = candidates.iter().position(|(.., denied)| denied.len() == least).unwrap_or_default();
    let narrower = at.checked_sub(1).and_then(|before| candidates.get(before)).map(|(.., d)| d.clone());
    let Some((profile, mut lines, denied)) = candidates.into_iter().nth(at) else { return Err(Vec::new()) };
    let why = profile_evidence(given, profile, narrower.as_deref(), &denied);
    if let Some(line) = lines.iter_mut().find(|line| line.table == "process" && line.key == "profile") {
        line.evidence = why;
    }
    let text = text(&lines);
    let manifest = check(&text, board)?;
    let mut remarks = refusals(&denied);
    remarks.extend(beyond_the_board(learnt, board));
    let refused = denied.iter().map(|call| call.number).collect();
    Ok(Proposal { text, manifest, lines, remarks, refused })
}

/// Whether the given manifest leaves room for this profile: what it says is the least.
fn keeps(given: &Manifest, profile: Profile) -> bool {
    !given.lines.contains_key("process.profile") || profile >= given.facts.profile
}

/// A call that a filter does not let through, by name, with what happens and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Denied {
    number: u32,
    name: String,
    /// Whether arguments decided: those that no filter looks at are recorded as 0.
    arguments: bool,
    reply: Reply,
    evidence: String,
}

/// What of the recorded calls `plan` would not let through. Not those that seem not to exist: their callers go on.
fn denied(plan: &Plan, learnt: &Learnt) -> Vec<Denied> {
    let mut found = Vec::new();
    for ((call, name), evidence) in &learnt.calls {
        match filter::reply(&plan.seccomp, call) {
            Some(Reply::Allowed) => {}
            Some(Reply::Fails(errno)) if i32::from(errno) == libc::ENOSYS => {}
            reply => found.push(Denied {
                number: call.number,
                arguments: call.args != [0; 6],
                name: name.clone(),
                reply: reply.unwrap_or(Reply::Killed),
                evidence: evidence.clone(),
            }),
        }
    }
    found
}

fn profile_evidence(
    given: &Manifest,
    profile: Profile,
    narrower: Option<&[Denied]>,
    denied: &[Denied],
) -> String {
    let Some(narrower) = narrower else {
        return if given.lines.contains_key("process.profile") && profile != Profile::Strict {
            "given; no recorded call needs more".to_owned()
        } else {
            "no recorded call needs more".to_owned()
        };
    };
    let mut needed: Vec<&Denied> = narrower.iter().filter(|call| !denied.contains(call)).collect();
    needed.dedup_by_key(|call| call.name.as_str());
    let shown: Vec<String> =
        needed.iter().take(3).map(|call| format!("{} ({})", call.name, call.evidence)).collect();
    let rest = needed.len().saturating_sub(shown.len());
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("the smallest that has {}{more}", shown.join(", "))
}

/// What no profile allows, one remark for each call by name.
fn refusals(denied: &[Denied]) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&Denied>> = BTreeMap::new();
    for call in denied {
        by_name.entry(call.name.as_str()).or_default().push(call);
    }
    let said = by_name.into_iter().map(|(name, calls)| {
        let killed = calls.iter().any(|call| call.reply == Reply::Killed);
        let what = if killed {
            "on the device the call kills the program"
        } else {
            "the program sees EPERM, on the device as here"
        };
        let with = if calls.iter().any(|call| call.arguments) { " with these arguments" } else { "" };
        let by: Vec<&str> = calls.iter().take(3).map(|call| call.evidence.as_str()).collect();
        format!("nothing proposed allows `{name}`{with}: made {}; {what}", by.join("; "))
    });
    said.collect()
}

fn beyond_the_board(learnt: &Learnt, board: &Board) -> Option<String> {
    let memory = learnt.memory.as_ref()?.least;
    (memory > board.memory)
        .then(|| format!("it took about {memory}, and this board gives an app {} at most", board.memory))
}

/// The lines of the proposal, in the order of the manifest's reference.
fn lines(given: &Manifest, learnt: &Learnt, profile: Profile, board: &Board) -> Vec<Line> {
    let facts = &given.facts;
    let mut w = Lines { given, all: Vec::new() };
    w.plain("app", "id", quoted(facts.id.as_str()));
    w.plain("app", "version", quoted(&facts.version.to_string()));
    let exec: Vec<String> = std::iter::once(facts.program.as_str())
        .chain(facts.arguments.iter().map(AsRef::as_ref))
        .map(quoted)
        .collect();
    w.plain("app", "exec", format!("[{}]", exec.join(", ")));
    resources(&mut w, learnt, board);
    w.line("process", "profile", quoted(profile.as_str()), String::new());
    if facts.jit || learnt.jit.is_some() {
        let why = learnt.jit.clone().unwrap_or_else(|| NOT_SEEN.to_owned());
        w.line("process", "jit", "true".to_owned(), format!("W^X IS LIFTED: {why}"));
    }
    let shared = learnt.calls.iter().find(|((_, name), _)| matches!(name.as_str(), "shmget" | "shmat"));
    if facts.sysv_shm || shared.is_some() {
        let why =
            shared.map_or_else(|| NOT_SEEN.to_owned(), |((_, name), by)| format!("{name}() was called {by}"));
        w.line("process", "sysv_shm", "true".to_owned(), why);
    }
    for (name, value) in &facts.environment {
        w.plain("process", &format!("environment.{name}"), quoted(value.as_ref()));
    }
    if given.lines.contains_key("process.working_directory") {
        w.plain("process", "working_directory", quoted(facts.working_directory.as_str()));
    }
    w.list("network", "connect", &facts.connect, &learnt.connect, |to| quoted(&to.to_string()));
    // A program may listen on every address and be meant for the device alone: that is the manifest's to say.
    let meant = |seen: &Listen| facts.listen.iter().find(|given| given.port() == seen.port()).copied();
    let listen: Vec<_> =
        learnt.listen.iter().map(|(seen, by)| (meant(seen).unwrap_or(*seen), by.clone())).collect();
    w.list("network", "listen", &facts.listen, &listen, |port| quoted(&port.to_string()));
    w.list("network", "private", &facts.private, &learnt.private, |host| quoted(host.as_str()));
    for class in DeviceClass::ALL {
        let held: Vec<Device> = facts.devices.iter().filter(|d| d.class() == class).cloned().collect();
        let seen: Vec<Seen<Device>> =
            learnt.devices.iter().filter(|(d, _)| d.class() == class).cloned().collect();
        w.list("devices", class.key(), &held, &seen, |device| quoted(device.path()));
    }
    let mut interfaces: BTreeMap<&InterfaceName, Vec<Seen<MethodName>>> =
        facts.uses.keys().map(|name| (name, Vec::new())).collect();
    for ((interface, method), evidence) in &learnt.uses {
        interfaces.entry(interface).or_default().push((method.clone(), evidence.clone()));
    }
    for (interface, seen) in interfaces {
        let held = facts.uses.get(interface).cloned().unwrap_or_default();
        w.list("uses", &quoted(interface.as_str()), &held, &seen, |method| quoted(method.as_str()));
    }
    for (interface, apps) in &facts.provides {
        let apps: Vec<String> = apps.iter().map(|app| quoted(app.as_str())).collect();
        w.plain("provides", &quoted(interface.as_str()), format!("[{}]", apps.join(", ")));
    }
    lifecycle(&mut w, learnt);
    w.all
}

fn resources(w: &mut Lines<'_>, learnt: &Learnt, board: &Board) {
    let facts = &w.given.facts;
    let nothing = || Need {
        least: Bytes::mebibytes(0),
        ask: Bytes::mebibytes(0),
        evidence: "nothing was written below /tmp".to_owned(),
    };
    let tmp = learnt.tmp.clone().unwrap_or_else(nothing);
    // `/tmp` is counted in memory, a given one too.
    let room = if w.set("tmp") { tmp.ask.max(facts.tmp) } else { tmp.ask };
    let memory = learnt.memory.clone().map(|need| Need {
        least: need.least.max(tmp.ask),
        ask: need.ask.max(room),
        ..need
    });
    w.limit("memory", facts.memory, memory.as_ref(), board.memory);
    if w.set("cpu") {
        w.plain("resources", "cpu", quoted(&facts.cpu.to_string()));
    }
    w.limit("tasks", facts.tasks, learnt.tasks.as_ref(), board.tasks);
    w.limit("storage", facts.storage, learnt.storage.as_ref(), board.storage);
    w.limit("tmp", facts.tmp, Some(&tmp), board.memory);
    w.limit("open_files", facts.open_files, learnt.open_files.as_ref(), board.open_files);
}

fn lifecycle(w: &mut Lines<'_>, learnt: &Learnt) {
    let facts = &w.given.facts;
    let set = |key: &str| w.given.lines.contains_key(&format!("lifecycle.{key}"));
    let (restart, stop) = (set("restart"), set("stop_timeout"));
    if restart {
        w.plain("lifecycle", "restart", quoted(facts.restart.as_str()));
    }
    if let Some(watchdog) = facts.watchdog {
        w.plain("lifecycle", "watchdog", quoted(&watchdog.to_string()));
    }
    if stop {
        let stop: Duration = facts.stop_timeout;
        w.plain("lifecycle", "stop_timeout", quoted(&stop.to_string()));
    }
    if facts.notify || learnt.notify.is_some() {
        let why = learnt.notify.clone().unwrap_or_else(|| NOT_SEEN.to_owned());
        w.line("lifecycle", "notify", "true".to_owned(), why);
    }
}

const NOT_SEEN: &str = "given; not seen in this recording";

struct Lines<'g> {
    given: &'g Manifest,
    all: Vec<Line>,
}

impl Lines<'_> {
    fn line(&mut self, table: &'static str, key: &str, value: String, evidence: String) {
        self.all.push(Line { table, key: key.to_owned(), value, evidence, element: false });
    }

    /// What the given manifest says and no recording can show.
    fn plain(&mut self, table: &'static str, key: &str, value: String) {
        self.line(table, key, value, String::new());
    }

    /// A list: what was seen, then what was given and not seen.
    fn list<T: PartialEq>(
        &mut self,
        table: &'static str,
        key: &str,
        given: &[T],
        seen: &[Seen<T>],
        show: impl Fn(&T) -> String,
    ) {
        let mut add = |value, evidence: &str| {
            let line =
                Line { table, key: key.to_owned(), value, evidence: evidence.to_owned(), element: true };
            self.all.push(line);
        };
        seen.iter().for_each(|(one, evidence)| add(show(one), evidence));
        let unseen = given.iter().filter(|one| seen.iter().all(|(known, _)| known != *one));
        unseen.for_each(|one| add(show(one), NOT_SEEN));
    }

    /// Whether the given manifest has this key below `[resources]`.
    fn set(&self, key: &str) -> bool {
        self.given.lines.contains_key(&format!("resources.{key}"))
    }

    /// A limit: the given one if it is enough, else what was seen, up to what the board has.
    fn limit<T: Amount>(&mut self, key: &str, given: T, need: Option<&Need<T>>, most: T) {
        let (value, evidence) = match need {
            Some(need) if !self.set(key) => (need.ask.min(most), need.evidence.clone()),
            Some(need) if need.least > given => {
                let evidence = format!("{}; {} was given", need.evidence, given.text());
                (need.ask.min(most), evidence)
            }
            Some(need) => (given, format!("given; {}", need.evidence)),
            None if self.set(key) => (given, NOT_SEEN.to_owned()),
            None => return,
        };
        self.line("resources", key, value.text(), evidence);
    }
}

/// A limit's value, as TOML has it.
trait Amount: Copy + Ord {
    fn text(&self) -> String;
}

impl Amount for Bytes {
    fn text(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Amount for u32 {
    fn text(&self) -> String {
        self.to_string()
    }
}

/// The lines as TOML, each with its evidence behind it.
fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    let (mut table, mut list) = ("", None);
    for line in lines {
        if list.is_some_and(|open| open != (line.table, line.key.as_str()) || !line.element) {
            text.push_str("]\n");
            list = None;
        }
        if line.table != table {
            let blank = if table.is_empty() { "" } else { "\n" };
            table = line.table;
            let _ = writeln!(text, "{blank}[{table}]");
        }
        let comment = comment(&line.evidence);
        if !line.element {
            let _ = writeln!(text, "{} = {}{comment}", line.key, line.value);
            continue;
        }
        if list.is_none() {
            let _ = writeln!(text, "{} = [", line.key);
            list = Some((line.table, line.key.as_str()));
        }
        let _ = writeln!(text, "    {},{comment}", line.value);
    }
    if list.is_some() {
        text.push_str("]\n");
    }
    text
}

/// Longest evidence in a comment, in characters.
const COMMENT_MAX: usize = 300;

fn comment(evidence: &str) -> String {
    if evidence.is_empty() {
        return String::new();
    }
    let short: String = evidence.chars().take(COMMENT_MAX).collect();
    format!("  # {}", printable(&short))
}

/// The text on one line, with whatever a terminal or a reader could be deceived by escaped.
pub fn printable(text: &str) -> String {
    let one = |c: char| match c {
        '"' | '\'' => String::from(c),
        _ => c.escape_debug().collect(),
    };
    text.chars().map(one).collect()
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str =
        "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\", \"b\\\"\\\\c\\u007F\"]\n";

    fn given(rest: &str) -> Manifest {
        check(&format!("{APP}{rest}"), &Board::default()).unwrap()
    }

    fn proposed(rest: &str, learnt: &Learnt) -> Proposal {
        propose(&given(rest), learnt, &Board::default()).unwrap()
    }

    fn calls(numbers: &[(libc::c_long, [u64; 6])]) -> Vec<Seen<(Call, String)>> {
        let all = numbers.iter().map(|(number, args)| {
            let number = u32::try_from(*number).unwrap();
            let name = call_name(number).unwrap_or("unknown").to_owned();
            ((Call { number, args: *args }, name), "by a".to_owned())
        });
        all.collect()
    }

    const CLONE: (libc::c_long, [u64; 6]) = (libc::SYS_clone, [0x11, 0, 0, 0, 0, 0]);

    fn profile(learnt: &Learnt) -> Profile {
        proposed("", learnt).manifest.facts.profile
    }

    #[test]
    fn propose_nothing_seen_grants_nothing() {
        let proposal = proposed("", &Learnt::default());
        let differences = crate::diff(&given(""), &proposal.manifest);
        assert!(differences.iter().all(|d| d.direction == crate::Direction::Loss), "{differences:?}");
        assert_eq!(proposal.manifest.facts.profile, Profile::Strict);
        assert_eq!(proposal.manifest.facts.arguments, given("").facts.arguments, "quoted and read back");
    }

    #[test]
    fn propose_takes_the_first_profile_that_answers_as_the_widest() {
        let reads = calls(&[(libc::SYS_read, [0; 6])]);
        assert_eq!(profile(&Learnt { calls: reads, ..Learnt::default() }), Profile::Strict);
        assert_eq!(profile(&Learnt { calls: calls(&[CLONE]), ..Learnt::default() }), Profile::Default);
        // What no profile allows does not make the profile wider.
        let killed = calls(&[(libc::SYS_ptrace, [0; 6]), (libc::SYS_clone, [0x1000_0000, 0, 0, 0, 0, 0])]);
        let learnt = Learnt { calls: killed, ..Learnt::default() };
        let proposal = proposed("", &learnt);
        assert_eq!(proposal.manifest.facts.profile, Profile::Strict);
        assert_eq!(proposal.remarks.len(), 2, "{:?}", proposal.remarks);
        // Nor does what seems not to exist.
        let absent = calls(&[(libc::SYS_clone3, [0; 6])]);
        let proposal = proposed("", &Learnt { calls: absent, ..Learnt::default() });
        assert!(proposal.remarks.is_empty());
    }

    #[test]
    fn propose_keeps_what_is_given_and_marks_what_was_not_seen() {
        let rest = "[process]\nprofile = \"network-server\"\nworking_directory = \"/data\"\nenvironment = { A = \"1\" }\n\
                    [resources]\nmemory = \"8MiB\"\ntmp = \"2MiB\"\n[uses]\n\"os.gabion.Update\" = [\"Defer\"]\n\
                    [provides]\n\"com.example.T\" = [\"com.example.b\"]\n[devices]\nserial = [\"/dev/ttyS1\"]\n\
                    [lifecycle]\nstop_timeout = \"9s\"\nnotify = true\n";
        let proposal = proposed(rest, &Learnt::default());
        assert_eq!(proposal.manifest, given(rest));
        assert_eq!(proposal.text.matches(NOT_SEEN).count(), 4, "{}", proposal.text);
    }

    #[test]
    fn propose_raises_a_limit_that_was_too_low_and_stays_below_the_board() {
        let seen = |mib| {
            let (least, ask) = (Bytes::mebibytes(mib), Bytes::mebibytes(mib * 2));
            Learnt { memory: Some(Need { least, ask, evidence: "peak".to_owned() }), ..Learnt::default() }
        };
        let limit = |rest, mib| proposed(rest, &seen(mib)).manifest.facts.memory;
        let rest = "[resources]\nmemory = \"20MiB\"\n";
        // Not because there is no room to spare: its author may know.
        assert_eq!((limit(rest, 19), limit(rest, 21)), (Bytes::mebibytes(20), Bytes::mebibytes(42)));
        assert_eq!(limit("", 500), Board::default().memory);
        assert!(proposed("", &seen(500)).remarks[0].contains("64MiB at most"));
    }

    #[test]
    fn propose_evidence_of_any_kind_stays_a_comment() {
        for evidence in ["\n[uses]\n", "a\r\"]", "\u{202e}\u{1b}[0m", "\u{7f}\0", &"x".repeat(5000)] {
            let listen = vec![("80/tcp".parse().unwrap(), evidence.to_owned())];
            let proposal = proposed("", &Learnt { listen, ..Learnt::default() });
            assert_eq!(proposal.manifest.facts.listen.len(), 1);
            assert!(proposal.manifest.facts.uses.is_empty());
            assert!(
                !proposal.text.contains(['\u{202e}', '\u{1b}', '\u{7f}', '\0', '\r']),
                "{}",
                proposal.text
            );
        }
    }

    #[test]
    fn widest_allows_what_any_candidate_allows() {
        let (widest, candidates) = (widest(&given(""), true), candidates(&given("")));
        for number in 0..470 {
            let call = Call { number, args: [0; 6] };
            let of = |plan: &Plan| filter::reply(&plan.seccomp, &call);
            let allowed = candidates.iter().any(|plan| of(plan) == Some(Reply::Allowed));
            assert!(!allowed || of(&widest) == Some(Reply::Allowed), "{number}");
        }
    }
}
