//! Which service this user is signed in to: its address, its root, the tokens; in a file for the user alone.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use service_api::Code;
use service_api::people::{Flow, FlowStep, NewSession, Refresh, Session, SignIn};

use super::client::Client;
use crate::exit::{Exit, Failure};

/// The longest file that is read.
const FILE_MAX: u64 = 64 << 10;
/// A token that ends within these seconds is renewed first.
const EARLY_S: u64 = 60;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    url: String,
    root: String,
    token: Code,
    ends: u64,
    refresh: Code,
}

/// Signs in by a one-time code.
pub(super) fn begin(url: &str, root: &str, code: Code) -> Result<Session> {
    let client = Client::new(url, root, None)?;
    let session: Session = client.post("/v1/sessions", Some(&NewSession { code }))?;
    write(&kept(url.to_owned(), root.to_owned(), &session))?;
    Ok(session)
}

/// Signs in by the service's provider: says where to go, and waits for the person.
pub(super) fn begin_elsewhere(
    url: &str,
    root: &str,
    say: impl FnOnce(&Flow) -> Result<()>,
) -> Result<Session> {
    let client = Client::new(url, root, None)?;
    let flow: Flow = client.post("/v1/sessions/oidc", None::<&()>)?;
    say(&flow)?;
    let step = FlowStep { flow: flow.flow };
    let mut wait_s = flow.interval_s;
    loop {
        // The service says when it is over.
        sleep(Duration::from_secs(wait_s.clamp(1, 300).into()));
        let answer: SignIn = client.post("/v1/sessions/oidc/step", Some(&step))?;
        if let Some(session) = answer.session {
            write(&kept(url.to_owned(), root.to_owned(), &session))?;
            return Ok(session);
        }
        wait_s = answer.interval_s;
    }
}

/// The service, as the user who is signed in.
pub(crate) fn resume() -> Result<Client> {
    let mut session = read()?;
    if session.ends <= now() + EARLY_S {
        let client = Client::new(&session.url, &session.root, None)?;
        let next: Session = client
            .post("/v1/sessions/refresh", Some(&Refresh { refresh: session.refresh }))
            .context("signing in anew; `gabion service login` takes a new code")?;
        session = kept(session.url, session.root, &next);
        write(&session)?;
    }
    Client::new(&session.url, &session.root, Some(session.token))
}

/// Forgets it.
pub(super) fn end() -> Result<()> {
    resume()?.act("DELETE", "/v1/sessions/current", None::<&()>)?;
    fs::remove_file(path()?).context("removing the session's file")
}

fn kept(url: String, root: String, session: &Session) -> Kept {
    let ends = now() + u64::from(session.expires_s);
    Kept { url, root, token: session.token.clone(), ends, refresh: session.refresh.clone() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn path() -> Result<PathBuf> {
    let configured = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let folder = configured.or_else(home).context("neither XDG_CONFIG_HOME nor HOME is set")?;
    Ok(folder.join("gabion").join("service.json"))
}

fn read() -> Result<Kept> {
    let file = File::open(path()?).map_err(|_| {
        Failure::new(Exit::Refused, "not signed in").help("`gabion service login` signs you in")
    })?;
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).context("the session's file")
}

/// Replaces the file as a whole: a refresh token that was used is worth nothing any more.
fn write(session: &Kept) -> Result<()> {
    let path = path()?;
    let folder = path.parent().context("the session's folder")?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(serde_json::to_string(session)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path).context("replacing the session's file")
}
