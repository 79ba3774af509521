//! Manifests, packages, recipes and container images with one thing wrong: for every one `gabion` ends with a documented code that is
//! not zero, names the place, says what to do, and does not panic.
//!
//! Needs mkfs.erofs, veritysetup and openssl.
#![expect(clippy::unwrap_used, reason = "tests")]

mod images;
mod manifests;
mod packages;
mod recipes;

use std::path::Path;
use std::process::Command;

/// What `gabion` said about something that is wrong.
struct Said {
    code: Option<i32>,
    err: String,
    /// Which of the mutants it was.
    what: String,
}

fn gabion(place: &Path, what: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
    let done = command.current_dir(place).env("NO_COLOR", "1").args(arguments).output().unwrap();
    let err = String::from_utf8(done.stderr).unwrap();
    Said { code: done.status.code(), err, what: what.to_owned() }
}

impl Said {
    /// It is a problem of what was given, at this place, and there is a remedy for each.
    #[track_caller]
    fn is_told(&self, place: &str) {
        let Self { code, err, what } = self;
        assert_eq!(*code, Some(1), "{what}: {err}");
        assert!(err.contains(place), "{what}: no \"{place}\" in {err}");
        assert!(!err.contains("panicked"), "{what}: {err}");
        let problems = err.matches("error: ").count().max(1);
        assert!(err.matches("help: ").count() >= problems, "{what}: a problem without a remedy: {err}");
        let printable = err.chars().all(|c| !c.is_control() || c == '\n');
        assert!(printable, "{what}: {err:?}");
    }
}
