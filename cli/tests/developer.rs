//! `gabion developer` as a person runs it: the key, and permits for it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use permit::{Developer, Refusal, Terms};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const DEVICE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn gabion(folder: &Path, words: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_gabion")).args(words).env("XDG_CONFIG_HOME", folder).output()?)
}

fn done(folder: &Path, words: &[&str]) -> Result<String> {
    let output = gabion(folder, words)?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn refused(folder: &Path, words: &[&str]) -> Result<String> {
    let output = gabion(folder, words)?;
    ensure!(!output.status.success(), "{words:?}: {output:?}");
    Ok(String::from_utf8(output.stderr)?)
}

/// A permit by nobody in particular, for whoever's certificate is in this file.
fn permit(certificate: &Path, to: &Path) -> Result<()> {
    let certificate = CertificateDer::from_pem_file(certificate)?;
    let terms = Terms {
        catalog: "acme".to_owned(),
        device: DEVICE.to_owned(),
        id: "0011".to_owned(),
        issued_s: 1_800_000_000,
        expires_s: 1_800_000_060,
        developer: Developer::of(&certificate)?,
    };
    Ok(fs::write(to, terms.issue(b"an authority", |_| Ok::<_, Refusal>([1; 64]))?)?)
}

#[test]
fn key_is_made_once_for_its_owner_alone() -> Result<()> {
    let place = tempfile::tempdir()?;
    assert!(
        refused(place.path(), &["ps", "--device", "tls://127.0.0.1:1"])?.contains("gabion developer key")
    );
    let said = done(place.path(), &["developer", "key", "--name", "Ada"])?;
    let key = place.path().join("gabion/developer.key");
    assert_eq!(fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    let again = done(place.path(), &["developer", "key"])?;
    let who = |said: &str| said.lines().last().map(str::to_owned).context("who");
    assert_eq!(who(&said)?, who(&again)?);
    assert!(said.contains("made") && again.contains("is there"));
    // What others could have read is nobody's key any more.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640))?;
    assert!(refused(place.path(), &["developer", "key"])?.contains("may be read by others"));
    Ok(())
}

#[test]
fn permit_is_kept_for_the_own_key_and_no_other() -> Result<()> {
    let (ada, bob) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for one in [&ada, &bob] {
        done(one.path(), &["developer", "key"])?;
    }
    let file = ada.path().join("permit.jwt");
    permit(&ada.path().join("gabion/developer.pub"), &file)?;
    let file = file.to_str().context("a path")?;
    let none = refused(ada.path(), &["ps", "--device", "tls://127.0.0.1:1"])?;
    assert!(none.contains("you have no permit"), "{none}");
    done(ada.path(), &["developer", "add", file])?;
    let listed = done(ada.path(), &["developer", "permits"])?;
    assert!(listed.starts_with(&format!("{DEVICE} acme ")), "{listed}");
    assert!(refused(bob.path(), &["developer", "add", file])?.contains("another key than yours"));
    // A door that nobody is behind.
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let said = refused(ada.path(), &["ps", "--device", &format!("tls://{closed}")])?;
    assert!(said.contains("not in developer mode"), "{said}");
    Ok(())
}
