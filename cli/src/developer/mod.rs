//! `gabion developer`: one's own key, the permits that one has, and developer mode on a device.

pub(crate) mod key;
pub(crate) mod permits;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bus::interfaces::permit::GetStatusReply;
use clap::{Args, Subcommand};
use permit::{Claimed, Developer};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bus::{Call, Device, Place};
use crate::output::{answer, printable};

/// What `gabion developer` does.
#[derive(Subcommand)]
pub(crate) enum Asked {
    /// Make your own key, if you have none, and say which it is. The key stays in ~/.config/gabion; whoever is to let you in is given
    /// the file beside it, developer.pub.
    Key {
        /// Who you are, for people.
        #[arg(long, default_value = "a developer")]
        name: String,
    },
    /// Keep a permit that somebody has issued for your key.
    Add {
        /// The permit.
        permit: PathBuf,
    },
    /// List the permits that you have.
    Permits,
    /// Say whether a device is in developer mode, whose, and until when.
    Status(Asking),
    /// Give a device your permit, over a way in that it has already; from its service it hears of it by itself.
    Enter {
        #[command(flatten)]
        asking: Asking,
        /// The permit; yours for this device unless told.
        #[arg(long, value_name = "FILE")]
        permit: Option<PathBuf>,
    },
    /// End developer mode on a device: connections end, and what was installed is removed with its data. It takes a new permit to come
    /// back.
    Leave(Asking),
}

/// Which device.
#[derive(Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    place: Place,
}

/// `gabion developer`. False: the device said no.
pub(crate) fn run(asked: Asked) -> Result<bool> {
    match asked {
        Asked::Key { name } => own_key(&name),
        Asked::Add { permit } => {
            let (_, text) = permits::from_file(&permit)?;
            let kept = permits::keep(&text)?;
            let device = &kept.terms().device;
            answer(&json!({ "device": device }), || format!("kept a permit for {device}\n"))
        }
        Asked::Permits => list(),
        Asked::Status(asking) => status(&Device::find(asking.place)?),
        Asked::Enter { asking, permit } => enter(&Device::find(asking.place)?, permit),
        Asked::Leave(asking) => Device::find(asking.place)?
            .one(&of_permit("Leave", &json!({}))?, |parameters| {
                answer(parameters, || "developer mode has ended\n".to_owned())
            }),
    }
}

fn own_key(name: &str) -> Result<bool> {
    let made = key::make(name)?;
    let (certificate, _) = key::own()?;
    let (key, file) = (key::key_path()?, key::certificate_path()?);
    let developer = Developer::of(&certificate)?.fingerprint();
    answer(&json!({ "key": key, "certificate": file, "developer": developer, "made": made }), || {
        format!(
            "{}: {}\n{}: to be given to whoever issues permits\nyou are {developer}\n",
            key.display(),
            if made { "made" } else { "is there" },
            file.display()
        )
    })
}

fn list() -> Result<bool> {
    let all = permits::all()?;
    let each = all.iter().map(|permit| {
        let terms = permit.terms();
        json!({ "device": terms.device, "catalog": terms.catalog, "id": terms.id, "expires": terms.expires_s })
    });
    answer(&each.collect::<Vec<_>>(), || {
        let line = |permit: &Claimed| {
            let terms = permit.terms();
            format!("{} {} {}\n", terms.device, terms.catalog, until(terms.expires_s))
        };
        all.iter().map(line).collect()
    })
}

/// How long something lasts, in words.
pub(crate) fn until(expires_s: u64) -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match expires_s.checked_sub(now_s) {
        None | Some(0) => "ended".to_owned(),
        Some(left) if left >= 2 * 86_400 => format!("for {} days", left / 86_400),
        Some(left) if left >= 2 * 3600 => format!("for {} hours", left / 3600),
        Some(left) => format!("for {} minutes", left / 60),
    }
}

fn status(device: &Device) -> Result<bool> {
    let mut is_on = false;
    let answered = device.one(&of_permit("GetStatus", &json!({}))?, |parameters| {
        let reply = GetStatusReply::deserialize(parameters)?;
        is_on = reply.permit.is_some();
        answer(parameters, || match reply.permit {
            None => "off\n".to_owned(),
            Some(permit) => {
                let expires_s = u64::try_from(permit.expires_us).unwrap_or(0) / 1_000_000;
                format!("on {}\ndeveloper {}\n", until(expires_s), printable(&permit.developer))
            }
        })
    })?;
    Ok(answered && is_on)
}

fn enter(device: &Device, file: Option<PathBuf>) -> Result<bool> {
    let text = match file {
        Some(path) => permits::from_file(&path)?.1,
        None => {
            let mut id = None;
            device.one(&of_permit("GetStatus", &json!({}))?, |parameters| {
                id = GetStatusReply::deserialize(parameters)?.device.map(|id| id.to_string());
                Ok(true)
            })?;
            let id = id.context("the device belongs to no service, so there is no permit for it")?;
            let (_, text) =
                permits::of(&id)?.with_context(|| format!("you have no permit for {}", printable(&id)))?;
            text
        }
    };
    device.one(&of_permit("Take", &json!({ "permit": text.trim() }))?, |parameters| {
        answer(parameters, || "developer mode is on\n".to_owned())
    })
}

fn of_permit(method: &str, parameters: &Value) -> Result<Call> {
    Call::new(
        &format!("os.gabion.Permit.{method}"),
        parameters.as_object().cloned().unwrap_or_default(),
        false,
    )
}
