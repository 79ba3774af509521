//! `gabion net` and `gabion time`: the network and the clock of a developer's device.
//!
//! What is asked goes over the bus, as with `gabion bus`, to the device's own `netd`. `why` answers from a manifest alone
//! where no device is asked.

mod clock;
mod rules;
mod why;

use std::path::PathBuf;

use bus::interfaces::network::{GetStatusReply, Kind, ListInterfacesReply, Reach};
use clap::{Args, Subcommand};
use policy::HostPort;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::bus::{Call, Device, Place, table};
use crate::output::answer;

/// Arguments of `gabion net`.
#[derive(Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    what: What,
}

/// Arguments of `gabion time`.
#[derive(Args)]
pub(crate) struct TimeAsked {
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum What {
    /// Say how far the network can be used, what is missing, and which links there are.
    Status,
    /// List what an app may reach and serve: each line of its manifest with addresses, time left and traffic.
    Rules {
        /// The app's id.
        app: String,
    },
    /// Say whether an app can reach a host now, and if not, what stops it first and what to do.
    #[command(allow_missing_positional = true)]
    Why {
        /// The app's id; or with --manifest nothing is asked of a device.
        #[arg(required_unless_present = "manifest")]
        app: Option<String>,
        /// As mqtt.example.com:8883; /tcp or /udp behind it, /tcp if not given.
        #[arg(value_parser = target)]
        to: HostPort,
        /// Answer from this manifest (or a directory that holds manifest.toml), without a device.
        #[arg(long, value_name = "PATH", conflicts_with = "app")]
        manifest: Option<PathBuf>,
    },
    /// Replace the device's network.toml. It is checked first, applied at once, and kept.
    Configure {
        /// The file; empty, it makes every Ethernet link ask for its address.
        file: PathBuf,
    },
}

/// `true`: yes, or done. `false`: no, refused, or an error reply, which was said.
pub(crate) fn run(asked: Asked) -> anyhow::Result<bool> {
    let Asked { place, what } = asked;
    match what {
        What::Status => status(&Device::find(place)?),
        What::Rules { app } => rules::run(&Device::find(place)?, &app),
        What::Why { manifest: Some(manifest), to, .. } => why::offline(&manifest, &to),
        What::Why { app, to, .. } => why::ask(&Device::find(place)?, &app.unwrap_or_default(), &to),
        What::Configure { file } => {
            let text = crate::diagnostic::read(&file)?;
            let call = of_network("Configure", &json!({ "text": text }))?;
            Device::find(place)?.one(&call, |_| {
                answer(&json!({ "done": "configure" }), || {
                    "taken, and kept; `gabion net status` says how it goes\n".to_owned()
                })
            })
        }
    }
}

/// What the clock shows.
pub(crate) fn time(asked: TimeAsked) -> anyhow::Result<bool> {
    clock::run(&Device::find(asked.place)?)
}

fn of_network(method: &str, parameters: &Value) -> anyhow::Result<Call> {
    let parameters = parameters.as_object().cloned().unwrap_or_default();
    Call::new(&format!("os.gabion.Network.{method}"), parameters, false)
}

fn status(device: &Device) -> anyhow::Result<bool> {
    let mut whole = Map::new();
    let mut text = String::new();
    let mut answered = device.one(&of_network("GetStatus", &json!({}))?, |parameters| {
        text = shown(&GetStatusReply::deserialize(parameters)?);
        whole.extend(parameters.as_object().cloned().unwrap_or_default());
        Ok(true)
    })?;
    answered &= device.one(&of_network("ListInterfaces", &json!({}))?, |parameters| {
        text.push_str(&links(&ListInterfacesReply::deserialize(parameters)?));
        whole.extend(parameters.as_object().cloned().unwrap_or_default());
        Ok(true)
    })?;
    if !answered {
        return Ok(false);
    }
    answer(&whole, || text)
}

fn shown(status: &GetStatusReply<'_>) -> String {
    let reach = match status.reach {
        Reach::Offline => "offline",
        Reach::Link => "a link and no address",
        Reach::Local => "local: nothing beyond the local network",
        Reach::Online => "online",
    };
    let reason = status.reason.as_ref().map(|reason| format!("missing  {reason}\n")).unwrap_or_default();
    let fault = status.fault.as_ref().map(|fault| {
        format!("fault    network.toml is passed over: {fault}; replace it with `gabion net configure`\n")
    });
    let fault = fault.unwrap_or_default();
    let servers = status.name_servers.join(" ");
    let servers = if servers.is_empty() { "none" } else { &servers };
    format!("network  {reach}\n{reason}{fault}names    {servers}\n\n")
}

fn links(reply: &ListInterfacesReply<'_>) -> String {
    let rows: Vec<_> = reply
        .interfaces
        .iter()
        .map(|link| {
            let kind = match link.kind {
                Kind::Loopback => "loopback",
                Kind::Ethernet => "ethernet",
                Kind::Wifi => "wifi",
                Kind::Cellular => "cellular",
                Kind::Other => "other",
            };
            let or_dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
            let up = if link.up { "up" } else { "down" };
            let addresses = link.addresses.join(" ");
            [
                link.name.to_string(),
                kind.to_owned(),
                up.to_owned(),
                or_dash(Some(&addresses)),
                or_dash(link.gateway.as_deref()),
                or_dash(link.hardware_address.as_deref()),
            ]
        })
        .collect();
    table(["LINK", "KIND", "STATE", "ADDRESSES", "ROUTER", "HARDWARE"], &rows)
}

/// A destination whose protocol may be left out.
fn target(text: &str) -> Result<HostPort, String> {
    let whole = if text.contains('/') { text.to_owned() } else { format!("{text}/tcp") };
    whole.parse().map_err(|fault: policy::Invalid| format!("{}; {}", fault.message, fault.help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::interfaces::network::{Link, Stage};

    #[test]
    fn status_says_what_is_missing_and_shows_each_link() {
        let status = GetStatusReply {
            reach: Reach::Local,
            missing: Some(Stage::Route),
            reason: Some("route: eth0 has no router".into()),
            name_servers: Vec::new(),
            fault: Some("line 1: what?".into()),
        };
        assert_eq!(
            shown(&status),
            "network  local: nothing beyond the local network\nmissing  route: eth0 has no router\n\
             fault    network.toml is passed over: line 1: what?; replace it with `gabion net configure`\nnames    none\n\n"
        );
        let link = Link {
            name: "eth0".into(),
            kind: Kind::Ethernet,
            up: true,
            hardware_address: None,
            addresses: vec!["192.0.2.7/24".into()],
            gateway: None,
        };
        assert_eq!(
            links(&ListInterfacesReply { interfaces: vec![link] }),
            "LINK  KIND      STATE  ADDRESSES     ROUTER  HARDWARE\neth0  ethernet  up     192.0.2.7/24  -       -\n"
        );
    }

    #[test]
    fn target_without_a_protocol_is_tcp_and_a_fault_says_what_to_write() {
        assert_eq!(target("a.example:1").unwrap().to_string(), "a.example:1/tcp");
        assert_eq!(target("a.example:1/udp").unwrap().to_string(), "a.example:1/udp");
        assert!(target("a.example").unwrap_err().contains("write host, port"));
    }
}
