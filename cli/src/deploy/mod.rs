//! `gabion deploy`, `rm`, `stats`, `debug` and `run --device`: an app on a developer's device, from its source to its first lines; and
//! what else is sent there.
//!
//! What the device sends is not believed: it is bounded by the session, and made printable where it is shown.

mod bridge;
mod debug;
mod debugger;
mod outcome;
mod stats;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bus::devport::FILE_MAX;
use bus::interfaces::developer::InstallReply;
use packing::gab::Signer;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bus::{Device, Next, Place, Talk};
use crate::developer::key;
use crate::exit::{Exit, Failure};
use crate::output::{answer, event, printable};
use crate::project;
use outcome::{Mark, Seen};

/// The interface that installs.
const DEVELOPER: &str = "os.gabion.Developer";
/// How long a stream is waited for until somebody looks whether it is enough.
const LOOK: Duration = Duration::from_millis(200);

/// Build an app and run it on a developer's device, in place of what runs of it; its /data stays.
#[derive(clap::Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    place: Place,
    /// The app's directory, as for `gabion build`; or a package that was built.
    #[arg(default_value = ".")]
    app: PathBuf,
    /// Go on with what it writes, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Longest wait for its first line, once it runs, in seconds.
    #[arg(long, env = "GABION_WAIT", default_value_t = 2, value_name = "SECONDS")]
    wait: u64,
    /// Sign it with this private key, PEM; behind a door your own unless told: the one that the device's permit names.
    #[arg(long, requires = "certificate", value_name = "FILE")]
    key: Option<PathBuf>,
    /// The key's certificate, PEM.
    #[arg(long, requires = "key", value_name = "FILE")]
    certificate: Option<PathBuf>,
}

/// Remove an app that was deployed.
#[derive(clap::Args)]
pub(crate) struct RemoveAsked {
    #[command(flatten)]
    place: Place,
    /// The app's id.
    #[arg(required_unless_present = "all")]
    app: Option<String>,
    /// Everything that was deployed to this device.
    #[arg(long, conflicts_with = "app")]
    all: bool,
}

/// Show what apps use.
#[derive(clap::Args)]
pub(crate) struct StatsAsked {
    #[command(flatten)]
    place: Place,
    /// One app alone.
    app: Option<String>,
    /// Again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

pub(crate) use debug::{Asked as DebugAsked, debug};

/// Whether it runs.
pub(crate) fn deploy(asked: Asked) -> Result<bool> {
    let enough = crate::local::until_interrupted()?;
    let device = Device::find(asked.place)?;
    let signer = match asked.key.zip(asked.certificate) {
        Some((key, certificate)) => Some(Signer { key, certificate }),
        None => own_signer(&device, &asked.app)?,
    };
    let package = packed(asked.app, signer.as_ref())?;
    let mut talk = device.talk(DEVELOPER)?;
    let seen = deployed(&mut talk, &package, Duration::from_secs(asked.wait))?;
    let shown = answer(&seen.json(), || seen.text())?;
    if asked.follow && shown {
        follow(&mut talk, &seen, &enough)?;
    }
    Ok(seen.is_good())
}

/// Deploys the app in a directory, follows it until somebody interrupts, and removes it.
pub(crate) fn run_there(place: Place, app: PathBuf) -> Result<bool> {
    let enough = crate::local::until_interrupted()?;
    let device = Device::find(place)?;
    let package = packed(app.clone(), own_signer(&device, &app)?.as_ref())?;
    let mut talk = device.talk(DEVELOPER)?;
    let seen = deployed(&mut talk, &package, Duration::from_millis(200))?;
    let followed = match answer(&seen.json(), || seen.text())? {
        true => follow(&mut talk, &seen, &enough),
        false => Ok(()),
    };
    // Whatever became of the log: what was put there is taken away.
    device.talk(DEVELOPER)?.call("Remove", &json!({ "app": seen.app }))?.map_err(refused)?;
    eprintln!("gabion: {} is removed from the device", seen.app);
    followed.map(|()| seen.is_good())
}

/// Removes an app, or all.
pub(crate) fn remove(asked: RemoveAsked) -> Result<bool> {
    let device = Device::find(asked.place)?;
    let mut talk = device.talk(DEVELOPER)?;
    let Some(app) = asked.app else {
        let reply = talk.call("Leave", &json!({}))?.map_err(refused)?;
        let removed = reply.get("removed").and_then(Value::as_i64).unwrap_or_default();
        return answer(&json!({ "removed": removed }), || format!("{removed} apps removed\n"));
    };
    match talk.call("Remove", &json!({ "app": app }))? {
        Ok(_) => answer(&json!({ "app": app, "removed": 1 }), || format!("{app}: removed\n")),
        Err((name, _)) if name == "NotInstalled" => Err(Failure::new(
            Exit::NotFound,
            format!("{app} was not deployed here"),
        )
        .help(format!(
            "`gabion bus call {DEVELOPER}.List` lists what was; `gabion wipe` erases what an app has stored"
        ))
        .into()),
        Err(error) => Err(refused(error)),
    }
}

/// What apps use.
pub(crate) fn stats(asked: StatsAsked) -> Result<bool> {
    let device = Device::find(asked.place)?;
    let enough = crate::local::until_interrupted()?;
    stats::run(&device, asked.app.as_deref(), asked.watch, &enough)
}

/// Behind a door only what one's own key has signed is taken. A package that is made already is signed, or it is not.
fn own_signer(device: &Device, app: &Path) -> Result<Option<Signer>> {
    if !device.is_door() || !app.is_dir() {
        return Ok(None);
    }
    Ok(Some(Signer { key: key::key_path()?, certificate: key::certificate_path()? }))
}

/// The package's bytes.
fn packed(app: PathBuf, signer: Option<&Signer>) -> Result<Vec<u8>> {
    let path = if app.is_dir() {
        project::package(&app, None, signer)?.path
    } else if signer.is_some() {
        return Err(Failure::new(Exit::Usage, format!("{} is a package already", app.display()))
            .help("`gabion build --key` signs what it makes")
            .into());
    } else {
        app
    };
    fs::read(&path).with_context(|| format!("reading {}", path.display()))
}

/// Installs the package, and waits for what becomes of it.
fn deployed(talk: &mut Talk, package: &[u8], wait: Duration) -> Result<Seen> {
    let upload = send(talk, package)?;
    // Who it is the device says only once it is installed: what is newer than this is its own.
    let mark = Mark::of(talk)?;
    talk.turn_to(DEVELOPER)?;
    let reply = talk.call("Install", &json!({ "upload": upload }))?.map_err(refused)?;
    let installed = InstallReply::deserialize(&reply)?;
    Seen::of(talk, &installed, package.len(), &mark, wait)
}

/// Installs what no app's developer waits for.
fn installed(talk: &mut Talk, package: &[u8]) -> Result<()> {
    let upload = send(talk, package)?;
    talk.call("Install", &json!({ "upload": upload }))?.map_err(refused)?;
    Ok(())
}

/// Hands releases in one file to the device's updates.
pub(crate) fn carry(device: &Device, file: &Path) -> Result<bool> {
    let releases = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let mut talk = device.talk(DEVELOPER)?;
    let upload = send(&mut talk, &releases)?;
    talk.call("Carry", &json!({ "upload": upload }))?.map_err(refused)?;
    let sent = json!({ "file": file.display().to_string(), "bytes": releases.len() });
    answer(&sent, || format!("{}: {} bytes are on the device\n", file.display(), releases.len()))
}

/// Sends a package in parts; what was begun by that.
fn send(talk: &mut Talk, package: &[u8]) -> Result<i64> {
    let begun = talk.call("Begin", &json!({ "size_bytes": package.len() }))?.map_err(refused)?;
    let upload = begun.get("upload").and_then(Value::as_i64).context("the device began nothing")?;
    for (part, at) in package.chunks(FILE_MAX).zip((0_usize..).step_by(FILE_MAX)) {
        talk.file(part)?;
        let put = json!({ "upload": upload, "offset_bytes": at, "part": 0 });
        talk.call("Put", &put)?.map_err(refused)?;
    }
    Ok(upload)
}

/// An error reply in words. Each line of it was made printable on its own.
fn refused((name, parameters): (String, Value)) -> anyhow::Error {
    let reason = parameters.get("reason").and_then(Value::as_str);
    match (name.as_str(), reason) {
        ("Refused", Some(reason)) => {
            let reason = reason.lines().map(printable).collect::<Vec<_>>().join("\n");
            Failure::new(Exit::Refused, reason).into()
        }
        ("Busy", _) => Failure::new(
            Exit::Failed,
            "something else is being installed or removed on the device, or is on trial after an update",
        )
        .help("try again")
        .into(),
        (name, _) => anyhow::anyhow!("{} {}", printable(name), printable(&parameters.to_string())),
    }
}

/// What it writes from now on, until it is enough.
fn follow(talk: &mut Talk, seen: &Seen, enough: &AtomicBool) -> Result<()> {
    talk.turn_to(outcome::APPS)?;
    talk.follow("FollowLog", &json!({ "app": seen.app, "lines": outcome::LINES }))?;
    let mut mark = seen.mark.clone();
    while !enough.load(Ordering::Relaxed) {
        let reply = match talk.next(LOOK)? {
            Next::Reply(reply) => reply,
            Next::Nothing => continue,
            Next::Over => return Ok(()),
        };
        for line in mark.newer(&outcome::log_lines(&reply)?) {
            if !event(&line, || line.shown())? {
                return Ok(());
            }
        }
    }
    Ok(())
}
