//! Syscalls that a profile allows whatever their arguments, in groups with one reason each.
//!
//! A group is data for three readers: the compiler, which takes the numbers; the page that documents the profiles; and
//! the tests, which hold every call against the evidence below `tests/programs/need`.

use super::rule::{Call, Rules};

/// Calls that belong together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// What programs use them for, for the page.
    #[cfg_attr(not(any(test, feature = "schema")), allow(dead_code, reason = "for the page"))]
    pub(crate) purpose: &'static str,
    /// The calls.
    pub(crate) calls: &'static [Call],
}

/// Adds the calls of every group, whatever their arguments.
pub(crate) fn allow(rules: &mut Rules, groups: &[Group]) {
    for group in groups {
        rules.always(group.calls);
    }
}
