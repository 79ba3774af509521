//! `gabion net why`: can an app reach a host, and if not, what stops it first.

use std::path::Path;

use bus::interfaces::network::WhyConnectReply;
use policy::{Act, HostPort, Proto};
use serde::Deserialize;
use serde_json::json;

use super::of_network;
use crate::bus::Device;
use crate::diagnostic;
use crate::output::answer;

/// From the device, which knows names and links.
pub(super) fn ask(device: &Device, app: &str, to: &HostPort) -> anyhow::Result<bool> {
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
        answer(parameters, || text)
    })?;
    Ok(answered && allowed)
}

/// From a manifest alone: whether a line names it. Names and links are not known here, which is said.
pub(super) fn offline(manifest: &Path, to: &HostPort) -> anyhow::Result<bool> {
    let manifest = diagnostic::manifest(manifest)?;
    let verdict = policy::explain(&manifest, &Act::Connect { host: to.host().clone(), port: to.port() });
    let line = (!verdict.allowed).then(|| format!("connect = [\"{to}\"]"));
    let reply = json!({
        "allowed": verdict.allowed,
        "obstacle": line.is_some().then_some("manifest"),
        "because": verdict.because,
        "manifest_line": line,
    });
    let because = &verdict.because;
    let shown = answer(&reply, || match line {
        None => format!("allowed: {because}; whether its name resolves and a link is up, a device knows\n"),
        Some(line) => format!("denied: {because}; add below [network]: {line}\n"),
    })?;
    Ok(shown && verdict.allowed)
}
