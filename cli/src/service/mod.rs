//! `gabion service`, `gabion catalog` and what is in one, `gabion device` and `gabion attest`: the Security Service, as its
//! users see it.

mod client;
pub(crate) mod fleet;
mod session;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use service_api::fleet::{Device, EscrowedKey, NewClaim, Page, Placement, Transfer};
use service_api::people::Me;
use service_api::problem::Problem;
use service_api::records::Verdict;
use service_api::{Code, DeviceId, Name};

/// What `gabion service` does.
#[derive(Subcommand)]
pub(crate) enum Asked {
    /// Sign in by a one-time code.
    Login {
        /// https://HOST[:PORT]
        url: String,
        /// The service's root (PEM), from whoever runs it.
        #[arg(long)]
        root: PathBuf,
        /// The code, from an administrator.
        #[arg(value_parser = code)]
        code: Code,
    },
    /// End the session.
    Logout,
    /// Say who is signed in, and what they may do where.
    Whoami,
}

/// What `gabion device` does.
#[derive(Subcommand)]
pub(crate) enum DeviceAsked {
    /// List a catalog's devices.
    List {
        /// The catalog.
        catalog: Name,
    },
    /// Show a device.
    Show(Which),
    /// Take a device into a group, by the code it shows or by its owner's transfer token.
    Claim {
        #[command(flatten)]
        which: Which,
        /// The code or token.
        #[arg(value_parser = code)]
        proof: Code,
        /// Into which product.
        #[arg(long)]
        product: Name,
        /// Into which group.
        #[arg(long)]
        group: Name,
    },
    /// Put a device into another group.
    Move {
        #[command(flatten)]
        which: Which,
        /// Into which product.
        #[arg(long)]
        product: Name,
        /// Into which group.
        #[arg(long)]
        group: Name,
    },
    /// Make a token by which another catalog may claim a device.
    Transfer(Which),
    /// Give a device up; whoever it shows its next code may claim it.
    Release(Which),
    /// Take a device's certificates away, and grant no more.
    Revoke(Which),
    /// Grant certificates again.
    Reinstate(Which),
    /// Read the recovery key of a device's storage, which is noted; the device makes another.
    RecoveryKey(Which),
}

/// What `gabion attest` does.
#[derive(Subcommand)]
pub(crate) enum AttestAsked {
    /// Show the verdict on a device's last evidence: each measurement, expected and seen.
    Show(Which),
}

/// A device of a catalog.
#[derive(Args)]
pub(crate) struct Which {
    /// The catalog.
    catalog: Name,
    /// The device's id.
    device: DeviceId,
}

impl Which {
    fn path(&self, rest: &str) -> String {
        format!("/v1/catalogs/{}/devices/{}{rest}", self.catalog, self.device)
    }
}

fn code(text: &str) -> Result<Code, service_api::TextError> {
    text.parse()
}

/// `gabion service`. False: the service said no.
pub(crate) fn run(asked: Asked) -> Result<bool> {
    told(match asked {
        Asked::Login { url, root, code } => login(&url, &root, code),
        Asked::Logout => session::end(),
        Asked::Whoami => session::resume().and_then(|client| show(&client.get::<Me>("/v1/me")?)),
    })
}

/// `gabion device`.
pub(crate) fn device(asked: DeviceAsked) -> Result<bool> {
    told(device_act(asked))
}

/// `gabion attest`. False too if the device did not pass.
pub(crate) fn attest(asked: AttestAsked) -> Result<bool> {
    let AttestAsked::Show(which) = asked;
    let verdict = session::resume().and_then(|client| client.get::<Verdict>(&which.path("/attestation")));
    let passed = verdict.as_ref().is_ok_and(|verdict| verdict.passed);
    Ok(told(verdict.map(|verdict| print_verdict(&verdict)))? && passed)
}

/// A refusal is an answer, said on standard error; everything else that went wrong is an error.
fn told(done: Result<()>) -> Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) => match error.downcast_ref::<Problem>() {
            Some(problem) => {
                eprintln!("{problem}");
                Ok(false)
            }
            None => Err(error),
        },
    }
}

fn login(url: &str, root: &std::path::Path, code: Code) -> Result<()> {
    let root = std::fs::read_to_string(root).with_context(|| format!("reading {}", root.display()))?;
    let session = session::begin(url, &root, code)?;
    println!("signed in as {}", session.subject);
    Ok(())
}

fn device_act(asked: DeviceAsked) -> Result<()> {
    let client = session::resume()?;
    let act = |method: &str, path: &str| client.act(method, path, None::<&()>);
    match asked {
        DeviceAsked::List { catalog } => list(&client, &catalog),
        DeviceAsked::Show(which) => show(&client.get::<Device>(&which.path(""))?),
        DeviceAsked::Claim { which: Which { catalog, device }, proof, product, group } => {
            let claim = NewClaim { device, proof, product, group };
            show(&client.post::<Device>(&format!("/v1/catalogs/{catalog}/claims"), Some(&claim))?)
        }
        DeviceAsked::Move { which, product, group } => {
            client.act("PUT", &which.path("/placement"), Some(&Placement { product, group }))
        }
        DeviceAsked::Transfer(which) => {
            let transfer: Transfer = client.post(&which.path("/transfer"), None::<&()>)?;
            println!("{}", transfer.token.as_str());
            Ok(())
        }
        DeviceAsked::Release(which) => act("DELETE", &which.path("/claim")),
        DeviceAsked::Revoke(which) => act("PUT", &which.path("/revocation")),
        DeviceAsked::Reinstate(which) => act("DELETE", &which.path("/revocation")),
        DeviceAsked::RecoveryKey(which) => {
            let escrowed: EscrowedKey = client.post(&which.path("/recovery-key"), None::<&()>)?;
            println!("{}", escrowed.recovery_key.as_str());
            Ok(())
        }
    }
}

fn list(client: &client::Client, catalog: &Name) -> Result<()> {
    let mut after = String::new();
    loop {
        let page: Page<Device> = client.get(&format!("/v1/catalogs/{catalog}/devices?limit=1000{after}"))?;
        for device in &page.items {
            let passed = device.passed.map_or("-", |passed| if passed { "passed" } else { "failed" });
            let release = device.release.as_ref().map_or("-", |release| release.as_str());
            let state = device.state.as_str();
            println!("{} {}/{} {state} {passed} {release}", device.device, device.product, device.group);
        }
        match page.items.last() {
            Some(last) if page.more => after = format!("&after={}", last.device),
            _ => return Ok(()),
        }
    }
}

fn show(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn print_verdict(verdict: &Verdict) {
    println!("{}", if verdict.passed { "passed" } else { "failed" });
    if let Some(release) = &verdict.release {
        println!("release {release}");
    }
    verdict.reasons.iter().for_each(|reason| println!("{}", printable(reason)));
    for measured in &verdict.measurements {
        let mark = if measured.passed { "ok   " } else { "WRONG" };
        println!("{mark} {}", printable(&measured.name));
        measured.expected.iter().for_each(|expected| println!("        expected {}", printable(expected)));
        println!("        seen     {}", printable(&measured.seen));
    }
}

/// A device has a say in what was measured, and the terminal is not its own.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
