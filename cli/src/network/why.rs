//! `gabion net why`: can an app reach a host, and if not, what stops it first.

use std::path::Path;

use bus::interfaces::network::WhyConnectReply;
use policy::{Act, HostPort, Proto};
use serde::Deserialize;
use serde_json::json;

use super::of_network;
use crate::bus::{Device, print};

/// From the device, which knows names and links.
pub(super) fn ask(device: &Device, app: &str, to: &HostPort, as_json: bool) -> anyhow::Result<bool> {
    let protocol = match to.port().proto() {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
    };
    let asked =
        json!({ "app": app, "host": to.host().as_str(), "port": to.port().number(), "protocol": protocol });
    let mut allowed = false;
    let answered = device.one(&of_network("WhyConnect", &asked)?, |parameters| {
        let reply = WhyConnectReply::deserialize(parameters)?;
        allowed = reply.allowed;
        let verdict = if allowed { "allowed" } else { "denied" };
        let text = format!("{verdict}: {}\n", reply.because);
        Ok(print(&if as_json { format!("{parameters:#}\n") } else { text }))
    })?;
    Ok(answered && allowed)
}

/// From a manifest alone: whether a line names it. Names and links are not known here, which is said.
pub(super) fn offline(manifest: &Path, to: &HostPort, as_json: bool) -> anyhow::Result<bool> {
    let Some(manifest) = crate::read(manifest)? else { return Ok(false) };
    let verdict = policy::explain(&manifest, &Act::Connect { host: to.host().clone(), port: to.port() });
    let line = (!verdict.allowed).then(|| format!("connect = [\"{to}\"]"));
    let text = if as_json {
        let reply = json!({
            "allowed": verdict.allowed,
            "obstacle": line.is_some().then_some("manifest"),
            "because": verdict.because,
            "manifest_line": line,
        });
        format!("{reply:#}\n")
    } else {
        match line {
            None => {
                format!(
                    "allowed: {}; whether its name resolves and a link is up, a device knows\n",
                    verdict.because
                )
            }
            Some(line) => format!("denied: {}; add below [network]: {line}\n", verdict.because),
        }
    };
    Ok(print(&text) && verdict.allowed)
}
