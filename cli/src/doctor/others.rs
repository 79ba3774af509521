//! Whether a developer's device and the Security Service are there and answer.

use anyhow::Result;
use bus::interfaces::device::GetInfoReply;
use serde::Deserialize;
use serde_json::Map;
use service_api::people::Me;

use super::machine::state;
use super::{Finding, State};
use crate::bus::{Call, Device, Place};
use crate::exit::Exit;
use crate::service::session;

/// The device: found, reached, and what it runs.
pub(super) fn device(place: Place) -> Finding {
    let asked = || -> Result<String> {
        let mut said = String::new();
        Device::find(place)?.one(&Call::new("os.gabion.Device.GetInfo", Map::new(), false)?, |reply| {
            let info = GetInfoReply::deserialize(reply)?;
            said = format!("{} {} on {}, Linux {}", info.os, info.os_version, info.board, info.kernel);
            Ok(true)
        })?;
        Ok(said)
    };
    match asked() {
        Ok(said) => Finding::ok("device", "bus", said),
        Err(error) => {
            let help = "`make run` in Gabion's tree starts one; --device or GABION_DEVICE names another one's socket";
            Finding::not(state(Exit::of(&error)), "device", "bus", (first_line(&error), help))
        }
    }
}

/// The service: signed in, reached, and known by the root that was given at sign-in.
pub(super) fn service() -> Finding {
    let asked = session::resume().and_then(|client| client.get::<Me>("/v1/me"));
    match asked {
        Ok(me) => {
            Finding::ok("service", "session", format!("signed in as {}, its certificate is good", me.subject))
        }
        Err(error) => {
            let exit = Exit::of(&error);
            let state = if exit == Exit::Refused { State::Warn } else { state(exit) };
            let help =
                "`gabion service login` signs you in; with the service's root if its certificate is refused";
            Finding::not(state, "service", "session", (first_line(&error), help))
        }
    }
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}
