//! `gabion device update-defer`, `update-resume`, `update-rollback`: what an operator has one device do with its updates.

use anyhow::Result;
use clap::Args;
use service_api::Text;
use service_api::orders::{DeviceOrder, NewOrder};
use service_api::updates::Act;

use super::client::Client;
use super::{Which, line, show};
use crate::developer::until;
use crate::output::{is_json, printable};

/// Which update of which device.
#[derive(Args)]
pub(crate) struct Of {
    #[command(flatten)]
    which: Which,
    /// An app's; the system's unless told.
    #[arg(long, value_name = "APP", value_parser = app)]
    app: Option<Text<128>>,
}

fn app(text: &str) -> Result<Text<128>, String> {
    let id = Text::try_from(text.to_owned()).ok().filter(|_| !text.is_empty());
    id.ok_or_else(|| "write an app's id, or leave the option out for the system".to_owned())
}

impl Of {
    pub(super) fn give(self, client: &Client, act: Act, minutes: u32) -> Result<()> {
        let new = NewOrder { act, app: self.app.unwrap_or_default(), minutes };
        let path = self.which.path("/update-order");
        let order: DeviceOrder = client.ask("PUT", &path, Some(&new))?;
        if is_json() {
            return show(&order);
        }
        line(
            "the device hears of it at once if it waits for updates, else when it asks; `gabion device updates` shows what became of it",
        )
    }
}

/// The last order of a device, in a line.
pub(super) fn line_of(order: &DeviceOrder) -> String {
    let of = if order.app.as_str().is_empty() { "the system" } else { order.app.as_str() };
    let reason = printable(order.reason.as_str());
    let became = match order.how {
        None => match until(order.until).as_str() {
            "ended" => "the device has not answered in time".to_owned(),
            left => format!("not answered; it holds {left}"),
        },
        Some(how) if reason.is_empty() => how.as_str().to_owned(),
        Some(how) => format!("{}: {reason}", how.as_str()),
    };
    format!(
        "told to   {} {}, by {}: {became}",
        order.act.as_str(),
        printable(of),
        printable(order.by.as_str())
    )
}
