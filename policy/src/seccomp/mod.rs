//! Seccomp: from the facts of a manifest to the programs of its box.
//!
//! Each syscall of each box has one of four answers; what decides, in this order:
//!
//! 1. *killed*: [`tables::killed`], a foreign architecture, the x32 ABI;
//! 2. *absent* (ENOSYS): [`tables::absent`];
//! 3. *allowed*: [`tables::allowed`];
//! 4. *refused* (EPERM): all the rest.
//!
//! A box gets one program. A plan may carry several, so that a later kernel's filters can be stacked without changing
//! the launcher. `seccomp` itself is not allowed: the launcher loads the program as its last act before `execve`.
//! What a program cannot do: see memory behind pointers, or what a descriptor is.

mod compile;
mod rule;
mod tables;

#[cfg(test)]
mod simulate;
#[cfg(test)]
mod tests;

use crate::facts::Facts;
use rule::{Rules, When};

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
    vec![compile::program(&tables::killed(), &tables::absent(), &tables::allowed(facts))]
}

/// What the programs answer to a syscall by number, for `explain`.
pub(crate) fn answer(facts: &Facts, number: i64) -> Answer {
    if tables::killed().of(number) == Some(&When::Always) {
        return Answer::Killed;
    }
    if tables::absent().of(number).is_some() {
        return Answer::Absent;
    }
    match tables::allowed(facts).of(number) {
        Some(When::Always) => Answer::Allowed,
        Some(When::Args(text, _)) => Answer::AllowedIf(text),
        None => Answer::Refused,
    }
}

/// The number of a syscall by its kernel name, if any table knows it.
pub(crate) fn number(name: &str) -> Option<i64> {
    every_table()
        .into_iter()
        .find_map(|rules| find(&rules, |_, known| known == name).map(|(number, _)| number))
}

/// The kernel name of a syscall, if any table knows it.
pub(crate) fn name(number: i64) -> Option<&'static str> {
    every_table().into_iter().find_map(|rules| find(&rules, |known, _| known == number).map(|(_, name)| name))
}

fn every_table() -> [Rules; 3] {
    [tables::killed(), tables::absent(), tables::everything()]
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
