//! The launch order of a box, by number. A refused launch names one of these and an errno.

macro_rules! steps {
    ($($number:literal $variant:ident $name:literal $doc:literal,)*) => {
        /// One step of the launch order inside the child. The order is fixed; numbers are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $(#[doc = $doc] $variant = $number,)* }

        impl Step {
            /// Every step in launch order.
            pub const ALL: &[Step] = &[$(Step::$variant,)*];

            /// The name shown to people, stable.
            pub fn name(self) -> &'static str {
                match self { $(Step::$variant => $name,)* }
            }

            /// The step with this number.
            pub fn from_number(number: u8) -> Option<Step> {
                match number { $($number => Some(Step::$variant),)* _ => None }
            }
        }
    };
}

steps! {
    1 Clone "clone" "`clone3` into the box's cgroup and its own pid, IPC and UTS namespaces.",
    2 CloseFds "close-fds" "stdio in place, every descriptor outside the bundle closed.",
    3 Network "network" "Join the network namespace.",
    4 Mounts "mounts" "Join the box's mount namespace and take a private copy.",
    5 Tmp "tmp" "Fresh `/tmp`.",
    6 Proc "proc" "Fresh `/proc`, own pids only.",
    7 Limits "limits" "Resource limits, umask, signals to their defaults.",
    8 Hostname "hostname" "Host name.",
    9 Directory "directory" "Working directory.",
    10 Groups "groups" "No supplementary group.",
    11 Gid "gid" "Real, effective and saved gid.",
    12 Uid "uid" "Real, effective and saved uid.",
    13 Capabilities "capabilities" "All five sets empty or as granted; securebits locked.",
    14 NoNewPrivs "no-new-privs" "`no_new_privs`.",
    15 Dumpable "dumpable" "Not dumpable.",
    16 WriteXorExecute "write-xor-execute" "`PR_SET_MDWE`.",
    17 Landlock "landlock" "`landlock_restrict_self`.",
    18 Seccomp "seccomp" "The seccomp programs.",
    19 Exec "exec" "`execve`.",
}
