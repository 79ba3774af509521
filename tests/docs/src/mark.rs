//! What is done with a block of commands.
//!
//! ```text
//! sh run=host              on the developer's machine, as root, in a folder of the page's own
//! sh run=device            the same, beside a developer's device that runs the demo
//! sh run=service           the same, beside the device, and the Security Service that the page itself starts
//! sh run=boot              not as it is: the test starts the device in its place, with the service.toml that the page made
//! sh run=host exit=1       the last command ends so
//! sh run=host ctrl-c       the last command ends by Ctrl-C, once it has printed what the block after it says
//! sh norun: REASON         nobody runs it, and why
//! ```
//!
//! The blocks of a page share one shell. Names in capitals stand for what was printed before: `CODE` is the last word of it,
//! `DEVICE` the newest 64 hexadecimal digits, as in a reader's hands.

use anyhow::{Context, Result, bail, ensure};

/// Where commands are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the developer's machine.
    Host,
    /// There, beside a developer's device.
    Device,
    /// There, beside a device that belongs to the page's Security Service.
    Service,
    /// They start the device.
    Boot,
}

/// How a block of commands ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Each command with exit code 0.
    Well,
    /// The last command with this exit code.
    Exit(i32),
    /// The last command by Ctrl-C.
    Interrupted,
}

/// What is done with a block of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is run.
    Run(Place, End),
    /// It is not, for this reason.
    NotRun(String),
}

impl Mark {
    /// Reads the words behind `sh`.
    ///
    /// # Errors
    /// They say nothing, or not what they could.
    pub fn read(words: &str) -> Result<Self> {
        if let Some(reason) = words.strip_prefix("norun:") {
            ensure!(!reason.trim().is_empty(), "`norun:` wants a reason");
            return Ok(Self::NotRun(reason.trim().to_owned()));
        }
        let mut words = words.split_whitespace();
        let place =
            words.next().context("write `run=host`, `run=device`, `run=service` or `norun: REASON`")?;
        let place = match place.strip_prefix("run=") {
            Some("host") => Place::Host,
            Some("device") => Place::Device,
            Some("service") => Place::Service,
            Some("boot") => Place::Boot,
            _ => bail!("`{place}` is none of run=host, run=device, run=service, run=boot, norun:"),
        };
        let end = match (words.next(), words.next()) {
            (None, _) => End::Well,
            (Some("ctrl-c"), None) => End::Interrupted,
            (Some(word), None) => {
                let code = word.strip_prefix("exit=").and_then(|code| code.parse().ok());
                End::Exit(code.with_context(|| format!("`{word}` is neither exit=NUMBER nor ctrl-c"))?)
            }
            (Some(_), Some(word)) => bail!("`{word}` is too much"),
        };
        Ok(Self::Run(place, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_is_read_with_its_end() {
        assert_eq!(Mark::read("run=host").unwrap(), Mark::Run(Place::Host, End::Well));
        assert_eq!(Mark::read("run=device exit=1").unwrap(), Mark::Run(Place::Device, End::Exit(1)));
        assert_eq!(Mark::read("run=host ctrl-c").unwrap(), Mark::Run(Place::Host, End::Interrupted));
        assert_eq!(Mark::read("norun: needs a board").unwrap(), Mark::NotRun("needs a board".to_owned()));
    }

    #[test]
    fn mark_that_says_nothing_is_refused() {
        for words in ["", "run", "run=there", "norun:", "norun", "run=host exit=x", "run=host ctrl-c now"] {
            assert!(Mark::read(words).is_err(), "{words}");
        }
    }
}
