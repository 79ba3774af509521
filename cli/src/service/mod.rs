//! `gabion service`, `gabion catalog` and what is in one, `gabion device` and `gabion attest`: the Security Service, as its
//! users see it.

pub(crate) mod client;
pub(crate) mod deployment;
mod enrol;
pub(crate) mod feed;
pub(crate) mod fleet;
mod orders;
mod permits;
mod program;
pub(crate) mod session;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use service_api::fleet::{Device, EscrowedKey, NewClaim, Page, Placement, Transfer};
use service_api::orders::MINUTES_MAX;
use service_api::people::Me;
use service_api::records::Verdict;
use service_api::updates::Act;
use service_api::{Code, DeviceId, Name};

pub(crate) use crate::output::printable;
use crate::output::{answer, is_json};

/// What `gabion service` does.
#[derive(Subcommand)]
pub(crate) enum Asked {
    /// Sign in, by a one-time code or by an OpenID provider.
    Login {
        /// https://HOST[:PORT]
        url: String,
        /// The service's root (PEM), from whoever runs it.
        #[arg(long)]
        root: PathBuf,
        /// The code, from an administrator.
        #[arg(value_parser = code, required_unless_present = "oidc")]
        code: Option<Code>,
        /// By the provider that the service was told of: with any browser, here or elsewhere.
        #[arg(long, conflicts_with = "code")]
        oidc: bool,
    },
    /// End the session.
    Logout,
    /// Say who is signed in, and what they may do where.
    Whoami,
    /// Make a service: its authority and its state. By the program `gabion-service`, which is asked for the options.
    #[command(disable_help_flag = true)]
    Init(program::Arguments),
    /// Serve, until SIGTERM or SIGINT. By the program `gabion-service`.
    #[command(disable_help_flag = true)]
    Run(program::Arguments),
    /// Write a service's state to a folder. By the program `gabion-service`.
    #[command(disable_help_flag = true)]
    Backup(program::Arguments),
    /// Read such a folder back. By the program `gabion-service`.
    #[command(disable_help_flag = true)]
    Restore(program::Arguments),
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
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Claim a developer's device, on whose port this machine is: id and code come from there. Waits until it has them.
    Enrol(enrol::Asked),
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
    Transfer {
        #[command(flatten)]
        which: Which,
    },
    /// Give a device up; whoever it shows its next code may claim it.
    Release(Which),
    /// Take a device's certificates away, and grant no more.
    Revoke(Which),
    /// Grant certificates again; also to a device whose TPM was cleared.
    Reinstate(Which),
    /// Have a device ask for updates at once, by the connection that it waits on.
    UpdateNow(Which),
    /// Have a device put an update that comes off, as its owner may, at once and once: within a day or not at all.
    UpdateDefer {
        #[command(flatten)]
        of: orders::Of,
        /// For how many minutes from when it hears of it; fewer if they are beyond its limit, which is 1440 for the system and 10020 for
        /// an app since it learnt of the update.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MINUTES_MAX)))]
        minutes: u32,
    },
    /// Have a device take an update that was put off as if it had not been.
    UpdateResume(orders::Of),
    /// Have a device go back to the system before, or to an app's version before while the new one is on trial.
    UpdateRollback(orders::Of),
    /// Take back what a device was last told to do, if it has not begun it.
    UpdateForget(Which),
    /// Show what a device runs, as it last said, and how its updates went.
    Updates {
        #[command(flatten)]
        which: Which,
    },
    /// Let a developer put apps onto a device, by one key and for a time. The device's permit before ends.
    Permit(permits::Issue),
    /// List a device's permits, newest first.
    Permits(Which),
    /// End a device's permit: at its next attestation it lets the developer in no more, and removes what he installed.
    PermitEnd(permits::End),
    /// Show the recovery key of a device's data disk, which its group's policy asked for. That you did is noted.
    RecoveryKey {
        #[command(flatten)]
        which: Which,
    },
}

/// What `gabion attest` does.
#[derive(Subcommand)]
pub(crate) enum AttestAsked {
    /// Show the verdict on a device's last evidence: each measurement, expected and seen.
    Show {
        #[command(flatten)]
        which: Which,
    },
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
        Asked::Login { url, root, code, oidc: _ } => login(&url, &root, code),
        Asked::Logout => session::end(),
        Asked::Init(arguments) => program::become_it("init", &arguments),
        Asked::Run(arguments) => program::become_it("run", &arguments),
        Asked::Backup(arguments) => program::become_it("backup", &arguments),
        Asked::Restore(arguments) => program::become_it("restore", &arguments),
        Asked::Whoami => session::resume().and_then(|client| show(&client.get::<Me>("/v1/me")?)),
    })
}

/// `gabion device`.
pub(crate) fn device(asked: DeviceAsked) -> Result<bool> {
    told(device_act(asked))
}

/// `gabion attest`. False too if the device did not pass.
pub(crate) fn attest(asked: AttestAsked) -> Result<bool> {
    let AttestAsked::Show { which } = asked;
    let verdict = session::resume().and_then(|client| client.get::<Verdict>(&which.path("/attestation")));
    let passed = verdict.as_ref().is_ok_and(|verdict| verdict.passed);
    let print = |verdict: Verdict| if is_json() { show(&verdict) } else { print_verdict(&verdict) };
    Ok(told(verdict.and_then(print))? && passed)
}

/// Done.
pub(crate) fn told(done: Result<()>) -> Result<bool> {
    done.map(|()| true)
}

fn login(url: &str, root: &std::path::Path, code: Option<Code>) -> Result<()> {
    let root = std::fs::read_to_string(root).with_context(|| format!("reading {}", root.display()))?;
    let session = match code {
        Some(code) => session::begin(url, &root, code)?,
        None => session::begin_elsewhere(url, &root, |flow| {
            let at = flow.verification_uri_complete.as_ref().unwrap_or(&flow.verification_uri);
            line(&format!(
                "go to {} and sign in; the code is {}",
                printable(at.as_str()),
                printable(flow.user_code.as_str())
            ))
        })?,
    };
    answer(&serde_json::json!({ "subject": session.subject }), || {
        format!("signed in as {}\n", session.subject)
    })
    .map(drop)
}

fn device_act(asked: DeviceAsked) -> Result<()> {
    let client = session::resume()?;
    let act = |method: &str, path: &str| client.act(method, path, None::<&()>);
    match asked {
        DeviceAsked::List { catalog } => list(&client, &catalog),
        DeviceAsked::Show { which } => {
            let device: Device = client.get(&which.path(""))?;
            if is_json() { show(&device) } else { print_device(&device) }
        }
        DeviceAsked::Enrol(asked) => enrol::run(&client, asked),
        DeviceAsked::Claim { which: Which { catalog, device }, proof, product, group } => {
            let claim = NewClaim { device, proof, product, group };
            show(&client.post::<Device>(&format!("/v1/catalogs/{catalog}/claims"), Some(&claim))?)
        }
        DeviceAsked::Move { which, product, group } => {
            client.act("PUT", &which.path("/placement"), Some(&Placement { product, group }))
        }
        DeviceAsked::Transfer { which } => {
            let transfer: Transfer = client.post(&which.path("/transfer"), None::<&()>)?;
            if is_json() { show(&transfer) } else { line(transfer.token.as_str()) }
        }
        DeviceAsked::RecoveryKey { which } => {
            let key: EscrowedKey = client.post(&which.path("/recovery-key"), None::<&()>)?;
            if is_json() { show(&key) } else { line(key.recovery_key.as_str()) }
        }
        DeviceAsked::Permit(issue) => issue.run(&client),
        DeviceAsked::Permits(which) => permits::list(&client, &which),
        DeviceAsked::PermitEnd(end) => end.run(&client),
        DeviceAsked::UpdateNow(which) => act("POST", &which.path("/update-check")),
        DeviceAsked::UpdateDefer { of, minutes } => of.give(&client, Act::Defer, minutes),
        DeviceAsked::UpdateResume(of) => of.give(&client, Act::Resume, 0),
        DeviceAsked::UpdateRollback(of) => of.give(&client, Act::Rollback, 0),
        DeviceAsked::UpdateForget(which) => act("DELETE", &which.path("/update-order")),
        DeviceAsked::Updates { which } => deployment::print_updates(&client.get(&which.path("/updates"))?),
        DeviceAsked::Release(which) => act("DELETE", &which.path("/claim")),
        DeviceAsked::Revoke(which) => act("PUT", &which.path("/revocation")),
        DeviceAsked::Reinstate(which) => act("DELETE", &which.path("/revocation")),
    }
}

fn list(client: &client::Client, catalog: &Name) -> Result<()> {
    let json = is_json();
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page: Page<Device> = client.get(&format!("/v1/catalogs/{catalog}/devices?limit=1000{after}"))?;
        for device in page.items.iter().filter(|_| !json) {
            let passed = device.passed.map_or("-", |passed| if passed { "passed" } else { "failed" });
            let release = device.release.as_ref().map_or("-", |release| release.as_str());
            let state = device.state.as_str();
            line(&format!(
                "{} {}/{} {state} {passed} {release}",
                device.device, device.product, device.group
            ))?;
        }
        let last = page.items.last().filter(|_| page.more);
        let next = last.map(|last| format!("&after={}", last.device));
        if json {
            all.extend(page.items);
        }
        match next {
            Some(next) => after = next,
            None if json => return show(&all),
            None => return Ok(()),
        }
    }
}

fn print_device(device: &Device) -> Result<()> {
    let passed = device.passed.map_or("never", |passed| if passed { "passed" } else { "failed" });
    line(&format!("device    {}", device.device))?;
    line(&format!("in        {}/{}", device.product, device.group))?;
    line(&format!("state     {}", device.state.as_str()))?;
    line(&format!("attested  {passed}"))?;
    match &device.release {
        Some(release) => line(&format!("release   {release}")),
        None => Ok(()),
    }
}

/// A line on standard output. Whoever reads it may have gone: no panic, and no success either.
pub(crate) fn line(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("writing to standard output")
}

pub(crate) fn show(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

fn print_verdict(verdict: &Verdict) -> Result<()> {
    line(if verdict.passed { "passed" } else { "failed" })?;
    if let Some(release) = &verdict.release {
        line(&format!("release {release}"))?;
    }
    for reason in &verdict.reasons {
        line(&printable(reason))?;
    }
    for measured in &verdict.measurements {
        let mark = if measured.passed { "ok   " } else { "WRONG" };
        line(&format!("{mark} {}", printable(&measured.name)))?;
        for expected in &measured.expected {
            line(&format!("        expected {}", printable(expected)))?;
        }
        line(&format!("        seen     {}", printable(&measured.seen)))?;
    }
    Ok(())
}
