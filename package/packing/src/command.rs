//! Running another program: silent while it goes well, everything it said when it does not.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::io;
use std::process::{Command, Stdio};

/// Programs that are run here, and the Debian packages that have them.
pub const PACKAGES: [(&str, &str); 9] = [
    ("mkfs.erofs", "erofs-utils"),
    ("fsck.erofs", "erofs-utils"),
    ("veritysetup", "cryptsetup-bin"),
    ("openssl", "openssl"),
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("sfdisk", "fdisk"),
    ("readelf", "binutils"),
    ("xz", "xz-utils"),
];

/// A program that is not there, or can not be started.
#[derive(Debug)]
pub struct Missing {
    program: String,
    error: io::Error,
}

impl Missing {
    /// Its name and why.
    pub fn new(program: impl Into<String>, error: io::Error) -> Self {
        Self { program: program.into(), error }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, error } = self;
        write!(f, "cannot run {program}: {error}\n  help: ")?;
        match PACKAGES.iter().find(|(known, _)| known == program) {
            Some((_, package)) => {
                write!(f, "apt-get install {package}; in Gabion's own tree, `make packages`")
            }
            None => write!(f, "install it; in Gabion's own tree, `make packages` installs what is needed"),
        }
    }
}

impl std::error::Error for Missing {}

/// Starts a command whose messages do not depend on the user's language.
pub fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Cargo, which may have started the program that calls this.
///
/// Cargo says in a program's environment of which package it is. Build scripts may watch that (`ring`'s does): handed on, it has
/// everything above such a crate compiled again for each program that calls Cargo.
pub fn cargo() -> Command {
    let mut cargo = tool("cargo");
    let of_package =
        |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|begin| name.starts_with(begin));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
        cargo.env_remove(name);
    }
    cargo
}

/// Runs `command` to its end and returns its standard output.
///
/// A missing program is reported with the command that installs it; a failed one with what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|error| Missing::new(name, error))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("{} failed ({}):\n{text}{said}", describe(command), done.status);
    }
    Ok(text)
}

/// Runs `command` with its messages going straight to the terminal.
pub fn visibly(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", describe(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_failing_program_carries_its_message() {
        let error = output(tool("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("because"), "{error}");
    }

    #[test]
    fn cargo_is_not_told_whose_tests_call_it() {
        let removed: Vec<_> = cargo()
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_owned())
            .collect();
        assert!(
            removed.contains(&"CARGO_PKG_NAME".into()) && removed.contains(&"CARGO_MANIFEST_DIR".into()),
            "{removed:?}"
        );
    }

    #[test]
    fn output_of_missing_program_names_it_and_the_remedy() {
        let error = output(&mut tool("no-such-program-here")).unwrap_err().to_string();
        assert!(error.contains("no-such-program-here") && error.contains("make packages"), "{error}");
    }
}
