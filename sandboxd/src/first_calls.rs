//! The two calls that each program of the system makes before its own first line, and that its filter refuses: static glibc
//! asks where the program is (`readlink`), and Rust where its stack is (`openat` of the process's memory map; where a program may
//! open files, `newfstatat` of that). Both go on without. They happen at every start, so they are no news, and not told.
//!
//! Once each, in this order, by the box's first process since it was started: what comes later, or more often, is told. Who
//! takes over such a program comes later.

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstCalls {
    pid: u32,
    made: usize,
}

const CALLS: [&[&str]; 2] = [&["readlink"], &["openat", "newfstatat"]];

impl FirstCalls {
    /// Whether this refused call of the process `pid` is the next of the two.
    pub fn is_next(&mut self, pid: u32, call: &str) -> bool {
        if self.pid != pid {
            *self = Self { pid, made: 0 };
        }
        let at = CALLS.iter().position(|names| names.contains(&call)).filter(|at| *at >= self.made);
        // Any other call is the program's own: what follows it is as well.
        self.made = at.map_or(CALLS.len(), |at| at + 1);
        at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_calls_are_known_once_and_in_their_order() {
        let mut calls = FirstCalls::default();
        let asked = ["readlink", "openat", "readlink", "openat"].map(|call| calls.is_next(7, call));
        assert_eq!(asked, [true, true, false, false]);
        assert!(calls.is_next(8, "openat"), "a program may leave one out");
        assert!(!calls.is_next(8, "readlink") && !calls.is_next(8, "newfstatat"));
        assert!(calls.is_next(10, "readlink") && calls.is_next(10, "newfstatat"));
        assert!(!calls.is_next(9, "socket") && !calls.is_next(9, "readlink"));
    }
}
