//! How `gabion` ends: every exit code, and which error has which.
//!
//! Scripts compare these numbers, so one that was given out keeps its meaning. `gabion help exit-codes` and docs/cli.md say the same as
//! [`Exit::meaning`]; tests hold both to it.

use std::fmt;
use std::io;
use std::process::ExitCode;

use serde_json::{Value, json};
use service_api::problem::Problem;

use crate::bus::Error as DeviceError;
use crate::diagnostic::Faulty;
use crate::output;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Yes = 0,
    No = 1,
    Usage = 2,
    Unreachable = 3,
    Refused = 4,
    NotFound = 5,
    Failed = 6,
}

impl Exit {
    pub(crate) const ALL: [Self; 7] =
        [Self::Yes, Self::No, Self::Usage, Self::Unreachable, Self::Refused, Self::NotFound, Self::Failed];

    /// Its name in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::NotFound => "not-found",
            Self::Failed => "failed",
        }
    }

    /// What it says, for people.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Yes => "the answer is yes, or it is done",
            Self::No => {
                "the answer is no (denied; more authority; the app ended badly), or what was given has problems, which are named"
            }
            Self::Usage => "the command was not understood: an argument is missing or wrong",
            Self::Unreachable => "no device, or no service, could be reached",
            Self::Refused => {
                "the device or the service refused: by its policy, or because of who asks; or nobody is signed in"
            }
            Self::NotFound => "what was named is not there: a file, an app, a device, a release",
            Self::Failed => {
                "it could not be done: a program, the disk, this machine's kernel, the other side"
            }
        }
    }

    /// The code of an error: by whatever in its causes is known here.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(of_cause).unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// `None`: whoever caused it may be known.
fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if cause.is::<Faulty>() || cause.is::<packing::check::Unfit>() || cause.is::<packing::opened::Fault>() {
        return Some(Exit::No);
    }
    if cause.is::<packing::command::Missing>() {
        return Some(Exit::Failed);
    }
    if cause.is::<policy::Invalid>() || cause.is::<service_api::TextError>() {
        return Some(Exit::Usage);
    }
    if let Some(problem) = cause.downcast_ref::<Problem>() {
        return Some(match problem.status {
            401 | 403 => Exit::Refused,
            404 | 410 => Exit::NotFound,
            400..=499 => Exit::No,
            _ => Exit::Failed,
        });
    }
    if let Some(error) = cause.downcast_ref::<repository::Error>() {
        return matches!(error, repository::Error::Asked(_)).then_some(Exit::No);
    }
    if let Some(error) = cause.downcast_ref::<DeviceError>() {
        return Some(match error {
            DeviceError::NoDevice(_) | DeviceError::Busy | DeviceError::Silent | DeviceError::Ended => {
                Exit::Unreachable
            }
            DeviceError::Refused(_) => Exit::Refused,
            // Whoever is there is another, or lets another in.
            DeviceError::Door(why) => match Exit::of(why) {
                Exit::Failed => Exit::Refused,
                other => other,
            },
            DeviceError::Closed | DeviceError::NotAReply(_) | DeviceError::Io(_) => Exit::Failed,
        });
    }
    if let Some(error) = cause.downcast_ref::<oci::Error>() {
        return match error {
            oci::Error::Io(..) => None,
            _ => Some(Exit::No),
        };
    }
    match cause.downcast_ref::<boxed::Error>() {
        Some(boxed::Error::App(_, error)) => return of_io(error),
        Some(boxed::Error::NoRoot(_)) => return Some(Exit::NotFound),
        Some(boxed::Error::Manifest(_) | boxed::Error::Answers(..)) => return Some(Exit::No),
        Some(_) => return Some(Exit::Failed),
        None => {}
    }
    of_io(cause.downcast_ref::<io::Error>()?)
}

fn of_io(error: &io::Error) -> Option<Exit> {
    match error.kind() {
        io::ErrorKind::NotFound => Some(Exit::NotFound),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::TimedOut => Some(Exit::Unreachable),
        _ => None,
    }
}

/// An error that knows its code, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    help: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: String::new() }
    }

    /// With what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.help) }
    }
}

impl std::error::Error for Failure {}

/// Says on standard error why it ends, and with which code.
pub(crate) fn tell(error: &anyhow::Error) -> Exit {
    let exit = Exit::of(error);
    let faulty = error.chain().find_map(|cause| cause.downcast_ref::<Faulty>());
    if output::is_json() {
        let text = format!("{error:#}");
        let (message, help) = text.split_once("\n  help: ").unwrap_or((&text, ""));
        let message = faulty.map_or_else(|| message.to_owned(), Faulty::summary);
        let problems = faulty.map(Faulty::json);
        let mut said = json!({ "code": exit.word(), "exit": exit as u8, "message": message });
        for (key, value) in [("help", (!help.is_empty()).then(|| Value::from(help))), ("problems", problems)]
        {
            if let (Some(value), Some(object)) = (value, said.as_object_mut()) {
                object.insert(key.to_owned(), value);
            }
        }
        eprintln!("{}", json!({ "error": said }));
    } else if let Some(faulty) = faulty {
        eprint!("{}", faulty.render(output::is_coloured(&io::stderr())));
    } else {
        eprintln!("gabion: {error:#}");
    }
    exit
}

/// What `gabion help exit-codes` prints, and docs/cli.md has.
pub(crate) fn table() -> String {
    let line = |exit: &Exit| format!("  {}  {:11}  {}\n", *exit as u8, exit.word(), exit.meaning());
    Exit::ALL.iter().map(line).collect()
}

/// The same for programs.
pub(crate) fn json() -> Value {
    let one = |exit: &Exit| json!({ "exit": *exit as u8, "code": exit.word(), "meaning": exit.meaning() });
    Exit::ALL.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn codes_are_the_ones_that_were_given_out() {
        let words: Vec<_> = Exit::ALL.iter().map(|exit| (*exit as u8, exit.word())).collect();
        let given = [
            (0, "yes"),
            (1, "no"),
            (2, "usage"),
            (3, "unreachable"),
            (4, "refused"),
            (5, "not-found"),
            (6, "failed"),
        ];
        assert_eq!(words, given);
        let page = include_str!("../../docs/cli.md");
        for exit in Exit::ALL {
            let row = format!("| {} | `{}` | {} |", exit as u8, exit.word(), exit.meaning());
            assert!(page.contains(&row), "docs/cli.md has no line: {row}");
        }
    }

    #[test]
    fn error_is_classed_by_what_caused_it() {
        let absent = std::fs::read("/nonexistent").context("reading it").unwrap_err();
        assert_eq!(Exit::of(&absent), Exit::NotFound);
        let denied = Problem { kind: String::new(), title: String::new(), status: 403, reasons: Vec::new() };
        assert_eq!(Exit::of(&anyhow::Error::from(denied).context("asking")), Exit::Refused);
        let none = DeviceError::NoDevice(String::new());
        assert_eq!(Exit::of(&none.into()), Exit::Unreachable);
        assert_eq!(Exit::of(&anyhow::anyhow!("whatever")), Exit::Failed);
        assert_eq!(Exit::of(&Failure::new(Exit::Usage, "no").help("yes").into()), Exit::Usage);
    }
}
