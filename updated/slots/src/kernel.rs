//! Names of kernel images on the EFI system partition: version and attempts, by the Boot Loader Specification's counting.
//!
//! `gabion_1.2.0.efi` is known to be good. `gabion_1.3.0+2-1.efi` is on trial: one attempt was made, two are left; the boot
//! loader renames it at each. With none left it comes after every other, and is started only if it is alone.

use std::cmp::Ordering;
use std::fmt;

/// Attempts that a new system has to show that it is good.
pub const ATTEMPTS: u32 = 3;
const PREFIX: &str = "gabion_";
const SUFFIX: &str = ".efi";

/// A system's kernel image, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The system's version.
    pub version: String,
    /// Attempts left and made, while it is on trial.
    pub trial: Option<(u32, u32)>,
}

impl Kernel {
    /// One that has not been tried.
    pub fn new(version: &str) -> Self {
        Self { version: version.to_owned(), trial: Some((ATTEMPTS, 0)) }
    }

    /// By the name of its file; `None` for files of others.
    pub fn of(name: &str) -> Option<Self> {
        let stem = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (version, counter) = stem.split_once('+').map_or((stem, None), |(v, c)| (v, Some(c)));
        let number = |text: &str| {
            let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|_| plain)
        };
        let trial = match counter.map(|counter| counter.split_once('-').unwrap_or((counter, "0"))) {
            None => None,
            Some((left, made)) => Some((number(left)?, number(made)?)),
        };
        is_version(version).then(|| Self { version: version.to_owned(), trial })
    }

    /// The same, known to be good.
    pub fn good(&self) -> Self {
        Self { version: self.version.clone(), trial: None }
    }

    /// The same, with no attempt left.
    pub fn bad(&self) -> Self {
        let made = self.trial.map_or(0, |(left, made)| left.saturating_add(made));
        Self { version: self.version.clone(), trial: Some((0, made)) }
    }

    fn is_spent(&self) -> bool {
        self.trial.is_some_and(|(left, _)| left == 0)
    }

    /// Which of two the boot loader takes first: what has attempts left, then the newer.
    pub fn precedence(&self, other: &Self) -> Ordering {
        self.is_spent()
            .cmp(&other.is_spent())
            .then_with(|| compare(&other.version, &self.version))
            .then_with(|| other.trial.map(|trial| trial.0).cmp(&self.trial.map(|trial| trial.0)))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.version)?;
        match self.trial {
            None => {}
            Some((left, 0)) => write!(f, "+{left}")?,
            Some((left, made)) => write!(f, "+{left}-{made}")?,
        }
        f.write_str(SUFFIX)
    }
}

/// Numbers, with dots between them: of these the boot loader's order is the plain one.
pub fn is_version(text: &str) -> bool {
    let part = |part: &str| (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 40 && text.split('.').all(part)
}

/// The order of versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| text.split('.').map(|part| part.parse().unwrap_or(0_u32)).collect::<Vec<_>>();
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_read_as_it_is_written() {
        for name in ["gabion_0.1.0.efi", "gabion_1.20.3+3.efi", "gabion_2+2-1.efi", "gabion_7+0-3.efi"] {
            assert_eq!(Kernel::of(name).unwrap().to_string(), name);
        }
        for other in [
            "gabion_.efi",
            "gabion_1.0+.efi",
            "gabion_1.0+3",
            "gabion_1.0+x.efi",
            "linux_1.efi",
            "gabion_1..2.efi",
        ] {
            assert_eq!(Kernel::of(other), None, "{other}");
        }
    }

    #[test]
    fn system_with_attempts_left_comes_before_a_newer_one_without() {
        let mut all: Vec<Kernel> =
            ["gabion_1.9.0.efi", "gabion_2.0.0+0-3.efi", "gabion_1.10.0+1-2.efi", "gabion_1.2.0.efi"]
                .iter()
                .filter_map(|name| Kernel::of(name))
                .collect();
        all.sort_by(Kernel::precedence);
        let versions: Vec<&str> = all.iter().map(|kernel| kernel.version.as_str()).collect();
        assert_eq!(versions, ["1.10.0", "1.9.0", "1.2.0", "2.0.0"]);
    }

    #[test]
    fn system_that_failed_has_no_attempt_left() {
        assert_eq!(Kernel::of("gabion_2.0.0+2-1.efi").unwrap().bad().to_string(), "gabion_2.0.0+0-3.efi");
        assert_eq!(Kernel::of("gabion_2.0.0+2-1.efi").unwrap().good().to_string(), "gabion_2.0.0.efi");
    }
}
