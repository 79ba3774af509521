//! `docs/profiles.md`, made from the tables and the compiled programs.
//!
//! A test says when the copy in the tree is stale, so that the page can not promise what the filters do not do.

use super::arguments::{self, Sockets};
use super::group::Group;
use super::reasons::{DAEMON_LEFT_OUT, DAEMON_NOT_SEEN, LEFT_OUT, NOT_SEEN, Reason};
use super::rule::{Rules, When};
use super::{answers, kernel_name, profiles, surface};
use crate::facts::{Facts, Profile, SystemFilter};
use crate::{Board, check, check_system};
use std::fmt::Write;

/// Everything a manifest can grant an app that adds syscalls, `jit` aside.
const GRANTS: &str = "[network]\nlisten = [\"1/tcp\", \"1/udp\"]\n[uses]\n\"os.gabion.Device\" = [\"GetInfo\"]\n\
                      [devices]\nserial = [\"/dev/ttyS0\"]\n";

const INTRODUCTION: &str = "\
# Seccomp profiles

Made by `cargo run -p gabion-policy --example profiles > docs/profiles.md`; a test holds this page to the filters.

A manifest names a profile (`[process] profile`); grants add what they need. What a box may call is decided by number
and, where that is stated, by arguments. All else fails with EPERM. What is here was measured: `tests/programs/need` has
a file for each program with the calls that it makes in its ordinary work, and a call that no file and no reason on this
page needs fails a test. Programs are of x86-64; other architectures have the same by the names they know.

A profile's version counts the changes of its rules; `gabion explain` shows it.

*Calls* counts the syscalls that a box reaches with any arguments, by running its compiled filter on every number:
without any grant, and with TCP, UDP, the bus and a device. `make surface` compares them with other systems.
";

/// The page.
pub fn profiles_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page += "\n| profile | version | for | calls | with grants |\n|---|---|---|---|---|\n";
    for profile in Profile::ALL {
        let (bare, granted) = (count(*profile, ""), count(*profile, GRANTS));
        let (version, what) = (profile.version(), purpose(*profile));
        let _ = writeln!(page, "| `{profile}` | {version} | {what} | {bare} | {granted} |");
    }
    let mut narrower = Rules::default();
    for (profile, groups) in [
        (Profile::Strict, profiles::STRICT),
        (Profile::Default, profiles::DEFAULT),
        (Profile::NetworkServer, profiles::NETWORK_SERVER),
    ] {
        let _ = writeln!(page, "\n## {profile}\n");
        if profile != Profile::Strict {
            page += "All of the profile before, and:\n\n";
        }
        of_groups(&mut page, groups);
        let mut rules = Rules::default();
        arguments::strict(&mut rules);
        if profile >= Profile::Default {
            arguments::default(&mut rules);
        }
        if profile >= Profile::NetworkServer {
            arguments::network_server(&mut rules);
        }
        of_arguments(&mut page, &rules, &narrower);
        narrower = rules;
    }
    grants(&mut page);
    daemons(&mut page);
    answers_instead(&mut page);
    reasons(&mut page, "Allowed without evidence", NOT_SEEN);
    reasons(&mut page, "Of the system's programs", DAEMON_NOT_SEEN);
    let left_out = names(DAEMON_LEFT_OUT.iter().copied());
    let _ = writeln!(
        page,
        "\nLeft out, where a program has no other use for them: {left_out}. glibc asks for its own path"
    );
    page.push_str("and maps at the start, and goes on without.\n");
    reasons(&mut page, "Seen, and left out", LEFT_OUT);
    page
}

fn purpose(profile: Profile) -> &'static str {
    match profile {
        Profile::Strict => {
            "a static Rust or C program: files, threads, timers; no process, no code but its own file's"
        }
        Profile::Default => "most programs: dynamic ones, interpreters, shells, servers",
        Profile::NetworkServer => "tuned servers: they place and weigh their own processes",
    }
}

fn count(profile: Profile, grants: &str) -> usize {
    let text = format!(
        "[app]\nid = \"a.b.c\"\nversion = \"1.0.0\"\nexec = [\"/x\"]\n[process]\nprofile = \"{profile}\"\n{grants}"
    );
    check(&text, &Board::default()).map_or(0, |manifest| surface::of(&manifest.facts).len())
}

fn names<'a>(calls: impl IntoIterator<Item = &'a str>) -> String {
    calls.into_iter().map(|call| format!("`{call}`")).collect::<Vec<_>>().join(" ")
}

fn of_groups(page: &mut String, groups: &[Group]) {
    page.push_str("| for | whatever their arguments |\n|---|---|\n");
    for Group { purpose, calls } in groups {
        let calls = names(calls.iter().map(|(name, _)| kernel_name(name)));
        let _ = writeln!(page, "| {purpose} | {calls} |");
    }
}

/// The calls of `rules` that depend on arguments, unless `known` has them in the same way.
fn of_arguments(page: &mut String, rules: &Rules, known: &Rules) {
    page.push_str("\n| call | with what arguments |\n|---|---|\n");
    for (number, name, when) in rules.iter().filter(|(number, _, when)| known.of(*number) != Some(when)) {
        let text = match rules.of(number) {
            Some(When::Args(text, _)) => text,
            _ => "any",
        };
        let _ = writeln!(page, "| `{}` | {text}: {} |", kernel_name(name), when.describe());
    }
}

fn grants(page: &mut String) {
    page.push_str("\n## What grants add\n\nSockets: `[network]`, each of TCP and UDP if a line names it; Unix sockets, ");
    page.push_str("which `default` has anyhow, with `[uses]`, `[provides]`, `notify` and `watchdog`.\n\n");
    of_groups(page, profiles::SOCKETS);
    let mut rules = Rules::default();
    arguments::sockets(&mut rules, Sockets { unix: true, tcp: true, udp: true });
    of_arguments(page, &rules, &Rules::default());
    page.push_str("\nWith TCP or UDP this seems not to exist and leaves no record, because glibc does it with each name:\n");
    let mut rules = Rules::default();
    arguments::asking_for_links(&mut rules);
    of_arguments(page, &rules, &Rules::default());
    page.push_str("\n`jit = true`, which lifts W^X:\n\n");
    of_groups(page, profiles::JIT);
    page.push_str("\n`sysv_shm = true`, memory that processes of the box share by System V calls:\n\n");
    of_groups(page, profiles::SYSV_SHM);
    let mut rules = Rules::default();
    arguments::sysv_shm(&mut rules);
    of_arguments(page, &rules, &Rules::default());
    page.push_str("\n`[devices]`: requests (`ioctl`) of the kind of device that is granted.\n");
}

fn daemons(page: &mut String) {
    page.push_str(
        "\n## The system's own programs\n\nEach has a filter of its own, to which nothing is added.\n\n",
    );
    page.push_str("| filter | calls | |\n|---|---|---|\n");
    for filter in SystemFilter::ALL {
        let calls = daemon(*filter).map_or_else(Vec::new, |facts| surface::of(&facts));
        let (count, calls) = (calls.len(), names(calls.iter().map(String::as_str)));
        let _ = writeln!(page, "| `{filter}` | {count} | {calls} |");
    }
}

fn daemon(filter: SystemFilter) -> Option<Facts> {
    let text = format!(
        "[app]\nid = \"os.gabion.x\"\nversion = \"1.0.0\"\nexec = [\"/x\"]\n\
         [process]\nprofile = \"strict\"\n[system]\nfilter = \"{filter}\"\n"
    );
    check_system(&text, &Board::default()).ok().map(|manifest| manifest.manifest().facts.clone())
}

fn answers_instead(page: &mut String) {
    let of = |rules: &Rules| names(rules.iter().map(|(_, name, _)| kernel_name(name)));
    page.push_str("\n## Other answers than EPERM\n\n| answer | calls |\n|---|---|\n");
    let _ = writeln!(
        page,
        "| the process is killed and the call recorded | {}; any call of another architecture or of x32 |",
        of(&answers::killed())
    );
    let _ = writeln!(page, "| ENOSYS | {} |", of(&answers::absent()));
    let _ = writeln!(page, "| ENOSYS, as long as nobody traces the process | {} |", of(&answers::untraced()));
}

fn reasons(page: &mut String, title: &str, reasons: &[Reason]) {
    let _ = write!(page, "\n## {title}\n\n| call | why |\n|---|---|\n");
    for (call, why) in reasons {
        let _ = writeln!(page, "| `{call}` | {why} |");
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn page_checked_in_copy_is_current() {
        let copy = include_str!("../../../docs/profiles.md");
        assert!(
            copy == super::profiles_page(),
            "stale: run `cargo run -p gabion-policy --example profiles > docs/profiles.md`"
        );
    }
}
