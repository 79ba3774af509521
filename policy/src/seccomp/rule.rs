//! What a seccomp rule is here, before it is BPF: a syscall, and the arguments it may have.
//!
//! One set of rules is the source for the compiled programs, for `explain` and for the tests that hold the two
//! against each other. An attacker chooses the syscall number and all six arguments. Only registers are looked at:
//! nothing here can see what a pointer points to, so nothing here tries.

use std::collections::BTreeMap;

/// A syscall by its kernel name (without `SYS_`) and this architecture's number.
pub(crate) type Call = (&'static str, i64);

/// One condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Which argument, 0 to 5.
    pub(crate) arg: u8,
    /// What it must satisfy.
    pub(crate) test: Test,
}

/// A condition. All but `Null` look at the low 32 bits alone, because the kernel does so for the arguments they are
/// used on (`int`, `unsigned int`, or flags of which only low bits exist); comparing 64 bits there would let
/// `TIOCSTI | 1 << 32` through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// Equal.
    Is(u32),
    /// Not equal.
    IsNot(u32),
    /// Equal under a mask.
    Masked { mask: u32, value: u32 },
    /// Equal to one of these.
    OneOf(&'static [u32]),
    /// All 64 bits are zero: a null pointer.
    Null,
}

impl Check {
    /// Whether `args` satisfy the condition: what the compiled program must agree with.
    #[cfg(any(test, feature = "schema"))]
    pub(crate) fn holds(self, args: &[u64; 6]) -> bool {
        let value = args.get(usize::from(self.arg)).copied().unwrap_or(0);
        // Truncation is the point, see `Test`.
        let low = value as u32;
        match self.test {
            Test::Is(wanted) => low == wanted,
            Test::IsNot(refused) => low != refused,
            Test::Masked { mask, value } => low & mask == value,
            Test::OneOf(values) => values.contains(&low),
            Test::Null => value == 0,
        }
    }
}

/// `arg` is `value`.
pub(crate) const fn is(arg: u8, value: u32) -> Check {
    Check { arg, test: Test::Is(value) }
}

/// `arg` is anything but `value`.
pub(crate) const fn is_not(arg: u8, value: u32) -> Check {
    Check { arg, test: Test::IsNot(value) }
}

/// Of `arg`, the bits in `mask` are `value`.
pub(crate) const fn masked(arg: u8, mask: u32, value: u32) -> Check {
    Check { arg, test: Test::Masked { mask, value } }
}

/// `arg` is one of `values`, of which there are not more than 200.
pub(crate) const fn one_of(arg: u8, values: &'static [u32]) -> Check {
    Check { arg, test: Test::OneOf(values) }
}

/// `arg` is a null pointer.
pub(crate) const fn null(arg: u8) -> Check {
    Check { arg, test: Test::Null }
}

/// When a syscall matches: one of the alternatives holds, each a list of conditions that all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Whatever its arguments.
    Always,
    /// One of these; the text says which arguments those are.
    Args(&'static str, Vec<Vec<Check>>),
}

#[cfg(any(test, feature = "schema"))]
impl When {
    /// The conditions, for people.
    pub(crate) fn describe(&self) -> String {
        let Self::Args(_, alternatives) = self else { return "any".to_owned() };
        let all =
            |checks: &Vec<Check>| checks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        alternatives.iter().map(all).collect::<Vec<_>>().join("; or ")
    }
}

#[cfg(any(test, feature = "schema"))]
impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arg = self.arg;
        match self.test {
            Test::Is(value) => write!(f, "argument {arg} is {value:#x}"),
            Test::IsNot(value) => write!(f, "argument {arg} is not {value:#x}"),
            Test::Masked { mask, value } => write!(f, "argument {arg} & {mask:#x} is {value:#x}"),
            Test::OneOf(values) => {
                let values: Vec<String> = values.iter().map(|value| format!("{value:#x}")).collect();
                write!(f, "argument {arg} is one of {}", values.join(", "))
            }
            Test::Null => write!(f, "argument {arg} is null"),
        }
    }
}

/// Rules by syscall number. Adding a rule never makes fewer calls match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(BTreeMap<i64, (&'static str, When)>);

impl Rules {
    /// Matches every call of these syscalls.
    pub(crate) fn always(&mut self, calls: &[Call]) {
        for (name, number) in calls {
            self.0.insert(*number, (name, When::Always));
        }
    }

    /// Matches calls of one syscall with certain arguments, besides those already matched.
    pub(crate) fn when(&mut self, (name, number): Call, why: &'static str, alternatives: &[&[Check]]) {
        let alternatives: Vec<Vec<Check>> = alternatives.iter().map(|all| all.to_vec()).collect();
        let entry = self.0.entry(number).or_insert((name, When::Args(why, Vec::new())));
        if let When::Args(text, known) = &mut entry.1 {
            *text = why;
            known.extend(alternatives);
        }
    }

    /// These without what others name, whatever its arguments.
    pub(crate) fn without(mut self, others: &Self) -> Self {
        self.0.retain(|number, _| others.of(*number).is_none());
        self
    }

    /// Every rule, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &'static str, &When)> {
        self.0.iter().map(|(number, (name, when))| (*number, *name, when))
    }

    /// The rule for a syscall.
    pub(crate) fn of(&self, number: i64) -> Option<&When> {
        self.0.get(&number).map(|(_, when)| when)
    }

    /// Whether a call matches.
    #[cfg(test)]
    pub(crate) fn matches(&self, number: i64, args: &[u64; 6]) -> bool {
        match self.of(number) {
            None => false,
            Some(When::Always) => true,
            Some(When::Args(_, alternatives)) => {
                alternatives.iter().any(|all| all.iter().all(|check| check.holds(args)))
            }
        }
    }
}

/// Names syscalls by libc's constants, so that a table cannot have a wrong number or a wrong name.
macro_rules! calls {
    ($($call:ident)*) => {
        &[$((stringify!($call), libc::$call),)*]
    };
}
pub(crate) use calls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_high_bits_are_ignored_except_for_pointers() {
        assert!(!is_not(1, 0x5412).holds(&[0, 0x1_0000_5412, 0, 0, 0, 0]));
        assert!(is(0, 1).holds(&[0xffff_ffff_0000_0001, 0, 0, 0, 0, 0]));
        assert!(!null(2).holds(&[0, 0, 1 << 32, 0, 0, 0]));
        assert!(masked(0, 0xf, 1).holds(&[0x80001, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn rules_adding_never_narrows() {
        let mut rules = Rules::default();
        rules.when(("read", 0), "fd 1", &[&[is(0, 1)]]);
        rules.when(("read", 0), "fd 1 or 2", &[&[is(0, 2)]]);
        assert!(rules.matches(0, &[1, 0, 0, 0, 0, 0]) && rules.matches(0, &[2, 0, 0, 0, 0, 0]));
        rules.always(&[("read", 0)]);
        rules.when(("read", 0), "fd 3", &[&[is(0, 3)]]);
        assert!(rules.matches(0, &[9, 0, 0, 0, 0, 0]));
        assert!(!rules.matches(1, &[1, 0, 0, 0, 0, 0]));
    }
}
