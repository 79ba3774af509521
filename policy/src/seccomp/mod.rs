//! Seccomp: from the facts of a manifest to the programs of its box.
//!
//! Each syscall of each box has one of four answers; what decides, in this order:
//!
//! 1. *killed*: [`answers::killed`], a foreign architecture, the x32 ABI;
//! 2. *absent* (ENOSYS): [`answers::absent`], [`answers::untraced`];
//! 3. *allowed*: [`profiles::allowed`];
//! 4. *refused* (EPERM): all the rest.
//!
//! A box gets one program. A plan may carry several, so that a later kernel's filters can be stacked without changing
//! the launcher. `seccomp` itself is not allowed: the launcher loads the program as its last act before `execve`.
//! What a program cannot do: see memory behind pointers, or what a descriptor is.

mod answers;
mod arguments;
mod compile;
mod daemons;
mod group;
pub(crate) mod machine;
#[cfg(feature = "schema")]
pub(crate) mod page;
#[cfg(any(test, feature = "schema"))]
mod probe;
mod profiles;
#[cfg(any(test, feature = "schema"))]
mod reasons;
mod rule;
#[cfg(any(test, feature = "schema"))]
pub(crate) mod surface;

#[cfg(test)]
mod tests;

pub(crate) use compile::ARCH;

use crate::facts::{Facts, Profile};
use rule::{Rules, When};
use std::sync::OnceLock;

/// What the programs of a box answer to a syscall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It goes through.
    Allowed,
    /// It goes through with certain arguments, described by the text; else it fails with EPERM or kills.
    AllowedIf(&'static str),
    /// The process is killed and the call recorded.
    Killed,
    /// It fails with ENOSYS, as if the kernel did not have it.
    Absent,
    /// It fails with EPERM.
    Refused,
}

/// Programs in order of installation.
pub(crate) fn programs(facts: &Facts) -> Vec<Vec<u8>> {
    vec![compile::program(&tables(facts))]
}

/// The same for an app under a debugger's server, which is a program as Debian ships them, and traces.
pub(crate) fn debugged(facts: &Facts) -> Vec<Vec<u8>> {
    let mut facts = facts.clone();
    facts.profile = facts.profile.max(Profile::Default);
    let [killed, absent, untraced, (mut allowed, allow)] = tables(&facts);
    let mut traces = Rules::default();
    traces.always(answers::TRACES);
    let killed = (killed.0.without(&traces), killed.1);
    allowed.always(answers::TRACES);
    vec![compile::program(&[killed, absent, untraced, (allowed, allow)])]
}

/// Every table with its action, in the order in which they decide.
fn tables(facts: &Facts) -> [(Rules, u32); 4] {
    [
        (killed(facts), compile::KILL),
        (answers::absent(), compile::ENOSYS),
        (untraced(facts), compile::UNTRACED),
        (profiles::allowed(facts), compile::ALLOW),
    ]
}

/// What kills the box. A program of the system may need what no app makes by accident: of such a call, whatever its filter
/// does not allow is refused.
fn killed(facts: &Facts) -> Rules {
    match facts.filter() {
        Some(_) => answers::killed().without(&profiles::allowed(facts)),
        None => answers::killed(),
    }
}

/// What seems not to exist and leaves no record.
fn untraced(facts: &Facts) -> Rules {
    let mut rules = seeming(facts);
    if facts.filter().is_none() && profiles::sockets(facts).internet() {
        arguments::asking_for_links(&mut rules);
    }
    rules
}

/// What seems not to exist whatever its arguments, in this box: what a wider profile has is there.
fn seeming(facts: &Facts) -> Rules {
    answers::untraced().without(&profiles::allowed(facts))
}

/// What the programs answer to a syscall by number, for `explain`.
pub(crate) fn answer(facts: &Facts, number: i64) -> Answer {
    if killed(facts).of(number) == Some(&When::Always) {
        return Answer::Killed;
    }
    if answers::absent().of(number).is_some() || seeming(facts).of(number).is_some() {
        return Answer::Absent;
    }
    match profiles::allowed(facts).of(number) {
        Some(When::Always) => Answer::Allowed,
        Some(When::Args(text, _)) => Answer::AllowedIf(text),
        None => Answer::Refused,
    }
}

/// Whether every call of this syscall that `narrow` is allowed, `wide` is allowed too. Tables share their alternatives, so
/// comparing these is exact.
pub(crate) fn covers(wide: &Facts, narrow: &Facts, number: i64) -> bool {
    match (profiles::allowed(wide).of(number), profiles::allowed(narrow).of(number)) {
        (Some(When::Always), _) | (_, None) => true,
        (Some(When::Args(_, wide)), Some(When::Args(_, narrow))) => {
            narrow.iter().all(|alternative| wide.contains(alternative))
        }
        _ => false,
    }
}

/// The number of a syscall by its kernel name, if any table knows it.
pub(crate) fn number(name: &str) -> Option<i64> {
    every_table().iter().find_map(|rules| find(rules, |_, known| known == name).map(|(number, _)| number))
}

/// The kernel name of a syscall, if any table knows it.
pub(crate) fn name(number: i64) -> Option<&'static str> {
    every_table().iter().find_map(|rules| find(rules, |known, _| known == number).map(|(_, name)| name))
}

fn every_table() -> &'static [Rules; 4] {
    static TABLES: OnceLock<[Rules; 4]> = OnceLock::new();
    TABLES.get_or_init(|| [answers::killed(), answers::absent(), answers::untraced(), profiles::everything()])
}

fn find(rules: &Rules, wanted: impl Fn(i64, &str) -> bool) -> Option<(i64, &'static str)> {
    rules
        .iter()
        .map(|(number, name, _)| (number, kernel_name(name)))
        .find(|(number, name)| wanted(*number, name))
}

/// libc's `SYS_read` is the kernel's `read`.
fn kernel_name(name: &'static str) -> &'static str {
    name.strip_prefix("SYS_").unwrap_or(name)
}
