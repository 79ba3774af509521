//! `gabion service` and `gabion device` as a person runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

/// Held while a program is written and while one is started: what a test writes, a process that another one starts meanwhile has open,
/// and nobody can execute it.
static FORKS: Mutex<()> = Mutex::new(());

/// A copy of `gabion` in a folder: beside the real one there may be a `gabion-service`.
fn gabion(folder: &Path, path: &str, arguments: &[&str]) -> Result<Output> {
    let _alone = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    let own = folder.join("gabion");
    if !own.exists() {
        fs::copy(env!("CARGO_BIN_EXE_gabion"), &own)?;
    }
    let mut command = Command::new(own);
    Ok(command.args(arguments).env("PATH", path).env("XDG_CONFIG_HOME", folder).output()?)
}

fn program(folder: &Path, says: &str) -> Result<()> {
    let path = folder.join("gabion-service");
    let _alone = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    fs::write(&path, format!("#!/bin/sh\nprintf '%s:' {says} \"$@\"\nexit 7\n"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[test]
fn service_is_run_by_the_program_beside_or_in_path_or_it_is_said_that_there_is_none() -> Result<()> {
    let (own, path) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let searched = format!("{}:/usr/bin:/bin", path.path().display());
    let none = gabion(own.path(), "/nonexistent", &["service", "run"])?;
    assert_eq!(none.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&none.stderr).contains("neither beside gabion nor in PATH"), "{none:?}");

    program(path.path(), "path")?;
    let run = ["service", "run", "--listen", "[::]:1", "--help", "--", "x y"];
    let output = gabion(own.path(), &searched, &run)?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "path:run:--listen:[::]:1:--help:--:x y:");
    assert_eq!(output.status.code(), Some(7), "its status is the program's");
    program(own.path(), "beside")?;
    for act in ["init", "backup", "restore"] {
        let output = gabion(own.path(), &searched, &["service", act, "folder"])?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("beside:{act}:folder:"));
    }
    Ok(())
}

#[test]
fn device_commands_say_what_they_take_and_what_is_missing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let device = "a".repeat(64);
    for act in ["list", "show", "claim", "move", "transfer", "release", "revoke", "reinstate", "recovery-key"]
    {
        let help = gabion(folder.path(), "", &["device", act, "--help"])?;
        let said = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.status.success() && said.contains("The catalog"), "{act}: {said}");
        assert!(said.contains("--json"), "{act}: {said}");
        let wrong = gabion(folder.path(), "", &["device", act, "NO", &device])?;
        assert_eq!(wrong.status.code(), Some(2), "{act}: {wrong:?}");
    }
    for act in ["show", "transfer", "revoke", "recovery-key"] {
        let signed_out = gabion(folder.path(), "", &["device", act, "one", &device])?;
        let said = String::from_utf8_lossy(&signed_out.stderr).into_owned();
        assert_eq!(signed_out.status.code(), Some(4));
        assert!(
            said.contains("not signed in") && said.contains("help: `gabion service login`"),
            "{act}: {said}"
        );
    }
    Ok(())
}
