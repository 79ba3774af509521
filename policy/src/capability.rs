//! Names of Linux capabilities, for `[system]` alone.
//!
//! Only capabilities that a daemon of the image may ever need are known; the others cannot be granted, even by the
//! image's own manifests: no box loads modules, traces its neighbours' kernel or administrates the system.

use crate::problem::{Invalid, nearest, quote};

/// Numbers as in `linux/capability.h`.
const KNOWN: [(&str, u32); 10] = [
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_FOWNER", 3),
    ("CAP_KILL", 5),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_TIME", 25),
    ("CAP_WAKE_ALARM", 35),
];

/// Every bit that a system box may have.
pub(crate) fn grantable() -> u64 {
    KNOWN.iter().fold(0, |mask, (_, number)| mask | 1 << number)
}

/// The number of the capability called `name`.
pub(crate) fn number(name: &str) -> Result<u32, Invalid> {
    if let Some((_, number)) = KNOWN.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let help = match nearest(name, KNOWN.iter().map(|(known, _)| *known)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => "no box may have it".to_owned(),
    };
    Err(Invalid::new(format!("{} is not a capability that can be granted", quote(name)), help))
}

/// The name of a capability; its number if it is not one that can be granted.
pub(crate) fn name(number: u32) -> String {
    let known = KNOWN.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| format!("capability {number}"), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_known_has_the_kernels_number() {
        assert_eq!(number("CAP_KILL"), Ok(5));
        assert_eq!(grantable() & (1 << 21), 0, "CAP_SYS_ADMIN is never granted");
    }

    #[test]
    fn capability_unknown_is_refused_with_help() {
        assert!(number("CAP_SYS_ADMIN").is_err());
        assert!(number("CAP_KIL").unwrap_err().help.contains("CAP_KILL"));
    }
}
