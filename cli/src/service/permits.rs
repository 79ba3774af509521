//! `gabion device permit`: letting a developer put apps onto a device of one's own, and ending that.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use service_api::permits::{NewPermit, Permit};
use service_api::{Bytes, Name, Text};

use super::client::Client;
use super::{Which, line};
use crate::developer::{key, permits, until};
use crate::output::{is_json, printable};

/// Lets a developer put apps onto a device.
#[derive(Args)]
pub(crate) struct Issue {
    #[command(flatten)]
    which: Which,
    /// The developer's certificate, as `gabion developer key` makes it; your own unless told.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// For how long, as 12h or 7d; 30 days at most.
    #[arg(long = "for", value_name = "TIME", default_value = "7d", value_parser = lifetime_s)]
    lifetime_s: u32,
    /// What for.
    #[arg(long, default_value = "")]
    note: String,
    /// Write the permit here, for the developer; one for your own key is kept besides.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Ends a device's permit.
#[derive(Args)]
pub(crate) struct End {
    #[command(flatten)]
    which: Which,
    /// Which one; what is in force unless told.
    permit: Option<Name>,
}

fn lifetime_s(text: &str) -> Result<u32, String> {
    let wrong = || "write a number and m, h or d, as 7d".to_owned();
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let factor = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    digits.parse::<u32>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

impl Issue {
    pub(super) fn run(self, client: &Client) -> Result<()> {
        let path = self.key.map_or_else(key::certificate_path, Ok)?;
        let certificate = key::certificate(&path)?;
        let new = NewPermit {
            certificate: Bytes::new(certificate.to_vec()).context("the certificate is too long")?,
            lifetime_s: self.lifetime_s,
            note: Text::try_from(self.note).context("--note")?,
        };
        let permit: Permit = client.post(&self.which.path("/permits"), Some(&new))?;
        if let Some(path) = &self.output {
            std::fs::write(path, permit.permit.as_str()).with_context(|| path.display().to_string())?;
        }
        let is_own = key::own().is_ok_and(|(own, _)| own == certificate);
        if is_own {
            permits::keep(permit.permit.as_str())?;
        }
        if is_json() {
            return super::show(&permit);
        }
        if !is_own && self.output.is_none() {
            line(permit.permit.as_str())?;
        }
        line(&format!("permit {} {}", permit.id, until(permit.expires)))?;
        line(
            "the device takes it at its next attestation: at once if it waits for updates, else by itself within a day, or when it starts",
        )
    }
}

impl End {
    pub(super) fn run(self, client: &Client) -> Result<()> {
        let id = match self.permit {
            Some(id) => id,
            None => {
                let all: Vec<Permit> = client.get(&self.which.path("/permits"))?;
                match all
                    .into_iter()
                    .find(|permit| permit.ended.is_none() && until(permit.expires) != "ended")
                {
                    Some(permit) => permit.id,
                    None => bail!("no permit of this device is in force"),
                }
            }
        };
        client.act("DELETE", &self.which.path(&format!("/permits/{id}")), None::<&()>)
    }
}

pub(super) fn list(client: &Client, which: &Which) -> Result<()> {
    let all: Vec<Permit> = client.get(&which.path("/permits"))?;
    if is_json() {
        return super::show(&all);
    }
    for permit in all {
        let state = if permit.ended.is_some() { "ended".to_owned() } else { until(permit.expires) };
        let note = printable(permit.note.as_str());
        line(&format!("{} {state} developer={} by={} {note}", permit.id, permit.developer, permit.issuer))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetime_is_a_number_and_a_unit() {
        assert_eq!(lifetime_s("7d"), Ok(604_800));
        assert_eq!(lifetime_s("90m"), Ok(5400));
        for bad in ["", "d", "7", "7 d", "-1d", "7w", "99999999d", "7ä"] {
            assert!(lifetime_s(bad).is_err(), "{bad}");
        }
    }
}
