//! `gabion device enrol`: a device that is on the developer's port, and claimed at the service in one step.
//!
//! The device is not believed: what it calls its id and its code must have their form, and the service judges them. A device that
//! is not enrolled yet is asked again until the time is over, since it does that by itself once it has a network.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bus::interfaces::identity::GetStatusReply;
use clap::Args;
use serde::Deserialize;
use serde_json::Map;
use service_api::fleet::{Device, NewClaim};
use service_api::{Code, DeviceId, Name};

use super::client::Client;
use super::{line, show};
use crate::bus::{Call, Device as Port, Place};
use crate::output::printable;

/// Between two questions.
const AGAIN: Duration = Duration::from_secs(1);

/// Arguments of `gabion device enrol`.
#[derive(Args)]
pub(crate) struct Asked {
    /// The catalog.
    catalog: Name,
    /// Into which product.
    #[arg(long)]
    product: Name,
    /// Into which group.
    #[arg(long)]
    group: Name,
    #[command(flatten)]
    place: Place,
}

/// What the device said of itself.
enum Status {
    /// It can be claimed.
    Waits(DeviceId, Code),
    /// It can not, and why.
    Not(String),
}

pub(super) fn run(client: &Client, asked: Asked) -> Result<()> {
    let (patience, port) = (asked.place.patience(), Port::find(asked.place)?);
    let (device, proof) = waiting(&port, Instant::now() + patience)?;
    line(&format!("device {device}"))?;
    let claim = NewClaim { device, proof, product: asked.product, group: asked.group };
    show(&client.post::<Device>(&format!("/v1/catalogs/{}/claims", asked.catalog), Some(&claim))?)
}

fn waiting(port: &Port, until: Instant) -> Result<(DeviceId, Code)> {
    loop {
        let mut status = None;
        let call = Call::new("os.gabion.Identity.GetStatus", Map::new(), false)?;
        let answered = port.one(&call, |parameters| {
            status = Some(read(&GetStatusReply::deserialize(parameters)?)?);
            Ok(true)
        })?;
        ensure!(answered, "the device does not say who it is");
        match status.context("the device said nothing")? {
            Status::Waits(device, code) => return Ok((device, code)),
            Status::Not(why) if Instant::now() >= until => bail!(why),
            Status::Not(_) => sleep(AGAIN),
        }
    }
}

fn read(status: &GetStatusReply<'_>) -> Result<Status> {
    let why = || status.problems.iter().map(|line| printable(line)).collect::<Vec<_>>().join("; ");
    Ok(match (&status.service, &status.device, &status.claim_code) {
        (None, ..) => {
            Status::Not("the device belongs to no service: put a service.toml into its image".to_owned())
        }
        (_, Some(device), Some(code)) => Status::Waits(
            device.parse().context("the device's id is none")?,
            code.parse().context("the device's claim code is none")?,
        ),
        (_, Some(device), None) if status.expires_us.is_some() => {
            Status::Not(format!("device {} is claimed already", printable(device)))
        }
        (Some(service), ..) => {
            let why = why();
            let why = if why.is_empty() { "it was not asked yet".to_owned() } else { why };
            Status::Not(format!("the device has no claim code of {} yet: {why}", printable(service)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status<'a>(
        device: Option<&'a str>,
        code: Option<&'a str>,
        problems: &[&'a str],
    ) -> GetStatusReply<'a> {
        GetStatusReply {
            service: Some("a.example:443/tcp".into()),
            device: device.map(Into::into),
            claim_code: code.map(Into::into),
            expires_us: None,
            problems: problems.iter().map(|line| (*line).into()).collect(),
        }
    }

    fn not(status: &GetStatusReply<'_>) -> String {
        match read(status).unwrap() {
            Status::Not(why) => why,
            Status::Waits(..) => panic!("it waits"),
        }
    }

    #[test]
    fn device_that_waits_for_its_owner_is_known_by_id_and_code() {
        let id = "ab".repeat(32);
        let Status::Waits(device, code) = read(&status(Some(&id), Some("ABCD-EFGH-JKLM-NPQR"), &[])).unwrap()
        else {
            panic!("it does not wait")
        };
        assert_eq!((device.as_str(), code.as_str()), (id.as_str(), "ABCD-EFGH-JKLM-NPQR"));
        assert!(read(&status(Some("nonsense"), Some("ABCD-EFGH-JKLM-NPQR"), &[])).is_err());
    }

    #[test]
    fn device_that_can_not_be_claimed_says_why() {
        let why = not(&status(None, None, &["no route", "\u{1b}[2J"]));
        assert!(why.ends_with("of a.example:443/tcp yet: no route; \u{fffd}[2J"), "{why}");
        let id = "ab".repeat(32);
        let owned = GetStatusReply { expires_us: Some(1), ..status(Some(&id), None, &[]) };
        assert!(not(&owned).ends_with("is claimed already"));
        assert!(not(&GetStatusReply { service: None, ..status(None, None, &[]) }).contains("service.toml"));
    }
}
