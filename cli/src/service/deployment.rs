//! `gabion deployment`: releases to groups of devices, in waves; and what became of them.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use service_api::deployments::{
    Approval, Deployment, DeviceProgress, DeviceUpdates, NewDeployment, Reason, Wave,
};
use service_api::fleet::Page;
use service_api::updates::{Stage, Window};
use service_api::{Few, Name, Text};

use super::client::Client;
use super::{line, session, show, told};
use crate::output::{is_json, printable};

/// What `gabion deployment` does.
#[derive(Subcommand)]
pub(crate) enum DeploymentAsked {
    /// Have a group's devices run releases.
    Create(Create),
    /// List a catalog's deployments, newest first.
    List {
        /// The catalog.
        catalog: Name,
        /// Of this product only.
        #[arg(long)]
        product: Option<Name>,
        /// Of groups of this name only.
        #[arg(long)]
        group: Option<Name>,
    },
    /// Show a deployment, and each device that was told of it: how far it is, and why it is no further.
    Show {
        #[command(flatten)]
        which: Which,
        /// Devices at this stage only: fetching, pending, deferred, trial, complete, failed or rolled-back.
        #[arg(long, value_parser = stage)]
        stage: Option<Stage>,
    },
    /// Tell nobody new of it.
    Pause {
        #[command(flatten)]
        which: Which,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let it go on.
    Resume(Which),
    /// Stop it for good: who does not run it yet goes back to the one before.
    Stop {
        #[command(flatten)]
        which: Which,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let the next wave follow, whether the deployment waits for that or for devices.
    Approve(Which),
}

/// A deployment of a catalog.
#[derive(Args)]
pub(crate) struct Which {
    /// The catalog.
    catalog: Name,
    /// The deployment's number.
    number: u64,
}

impl Which {
    fn path(&self, rest: &str) -> String {
        format!("/v1/catalogs/{}/deployments/{}{rest}", self.catalog, self.number)
    }
}

/// In which waves a deployment goes.
#[derive(Args)]
pub(crate) struct Waves {
    /// Shares of the devices in percent, as 1,10,50,100; all at once unless told.
    #[arg(long, value_delimiter = ',', value_name = "PERCENT")]
    waves: Vec<u8>,
    /// How many of the devices in a wave must have completed before the next, percent.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u8).range(..=100))]
    success: u8,
    /// A deployment stops by itself when more of them have failed, percent; 100 is never.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(..=100))]
    errors: u8,
    /// Somebody has to approve each wave after the first.
    #[arg(long)]
    approval: bool,
}

impl Waves {
    pub(super) fn all<const N: usize>(self) -> Result<Few<Wave, N>> {
        let Self { waves, success: success_percent, errors: error_percent, approval } = self;
        let shares = if waves.is_empty() { vec![100] } else { waves };
        let wave = |percent| Wave { percent, success_percent, error_percent, approval };
        Few::new(shares.into_iter().map(wave).collect()).context("too many waves")
    }
}

/// A deployment.
#[derive(Args)]
pub(crate) struct Create {
    /// The catalog.
    catalog: Name,
    /// The group's product.
    product: Name,
    /// The group.
    group: Name,
    /// Releases, as `gabion image list` has them.
    releases: Vec<String>,
    /// An app that is to go.
    #[arg(long, value_name = "APP")]
    remove: Vec<String>,
    /// Leave out what the group's last deployment had besides.
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    waves: Waves,
    /// When devices may apply it, UTC, as mon-02:00+180 (from Monday at two, for 180 minutes); may be repeated.
    #[arg(long = "window", value_parser = window)]
    windows: Vec<Window>,
    /// What for.
    #[arg(long, default_value = "")]
    notes: String,
}

fn stage(word: &str) -> Result<Stage, String> {
    Stage::from_word(word).ok_or_else(|| "no such stage".to_owned())
}

fn window(text: &str) -> Result<Window, String> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let read = || {
        let (begin, minutes) = text.split_once('+')?;
        let (day, time) = begin.split_once('-')?;
        let (hours, of_hour) = time.split_once(':')?;
        let day = u16::try_from(DAYS.iter().position(|name| *name == day)?).ok()?;
        let hours = hours.parse::<u16>().ok().filter(|hours| *hours < 24)?;
        let of_hour = of_hour.parse::<u16>().ok().filter(|minutes| *minutes < 60)?;
        let minutes = minutes.parse().ok().filter(|minutes| (1..=10_080).contains(minutes))?;
        Some(Window { from: day * 1440 + hours * 60 + of_hour, minutes })
    };
    read().ok_or_else(|| "a window is DAY-HH:MM+MINUTES, as mon-02:00+180".to_owned())
}

/// `gabion deployment`. False: the service said no.
pub(crate) fn run(asked: DeploymentAsked) -> Result<bool> {
    told(act(asked))
}

fn act(asked: DeploymentAsked) -> Result<()> {
    let client = session::resume()?;
    let said = |deployment: Deployment| line(&summary(&deployment));
    let reason = |reason: String| anyhow::Ok(Reason { reason: Text::try_from(reason).context("--reason")? });
    match asked {
        DeploymentAsked::Create(create) => create.run(&client),
        DeploymentAsked::List { catalog, product, group } => list(&client, &catalog, (product, group)),
        DeploymentAsked::Show { which, stage } => show_one(&client, &which, stage),
        DeploymentAsked::Pause { which, reason: why } => {
            said(client.post(&which.path("/pause"), Some(&reason(why)?))?)
        }
        DeploymentAsked::Resume(which) => said(client.post(&which.path("/resume"), None::<&()>)?),
        DeploymentAsked::Stop { which, reason: why } => {
            said(client.post(&which.path("/stop"), Some(&reason(why)?))?)
        }
        DeploymentAsked::Approve(which) => {
            let now: Deployment = client.get(&which.path(""))?;
            said(client.post(&which.path("/approve"), Some(&Approval { open: now.open }))?)
        }
    }
}

impl Create {
    fn run(self, client: &Client) -> Result<()> {
        let texts = |texts: Vec<String>| texts.into_iter().map(Text::try_from).collect::<Result<Vec<_>, _>>();
        let releases: Vec<Text<256>> = texts(self.releases)?;
        let remove = self.remove.into_iter().map(Text::try_from).collect::<Result<Vec<_>, _>>()?;
        let new = NewDeployment {
            product: self.product,
            group: self.group,
            releases: Few::new(releases).context("too many releases")?,
            remove: Few::new(remove).context("too many apps")?,
            alone: self.alone,
            waves: self.waves.all()?,
            windows: Few::new(self.windows).context("too many windows")?,
            notes: Text::try_from(self.notes).context("--notes")?,
        };
        let made: Deployment =
            client.post(&format!("/v1/catalogs/{}/deployments", self.catalog), Some(&new))?;
        if is_json() { show(&made) } else { line(&summary(&made)) }
    }
}

fn list(client: &Client, catalog: &Name, (product, group): (Option<Name>, Option<Name>)) -> Result<()> {
    let mut filter = String::new();
    for (key, name) in [("product", product), ("group", group)] {
        filter += &name.map_or(String::new(), |name| format!("&{key}={name}"));
    }
    let mut all = Vec::new();
    let mut before = String::new();
    loop {
        let path = format!("/v1/catalogs/{catalog}/deployments?limit=1000{filter}{before}");
        let page: Page<Deployment> = client.get(&path)?;
        let next = page.items.last().filter(|_| page.more).map(|last| format!("&before={}", last.number));
        all.extend(page.items);
        match next {
            Some(next) => before = next,
            None => break,
        }
    }
    if is_json() {
        return show(&all);
    }
    all.iter().try_for_each(|deployment| line(&summary(deployment)))
}

fn summary(deployment: &Deployment) -> String {
    let Deployment { number, product, group, state, open, waves, devices, .. } = deployment;
    let reason = printable(deployment.reason.as_str());
    let reason = if reason.is_empty() { reason } else { format!(" ({reason})") };
    format!(
        "{number} {product}/{group} {}{reason}: wave {open} of {}, {} devices chosen, {} told, {} complete, {} failed, {} \
         rolled back",
        state.as_str(),
        waves.len(),
        devices.chosen,
        devices.told,
        devices.complete,
        devices.failed,
        devices.rolled_back
    )
}

fn show_one(client: &Client, which: &Which, stage: Option<Stage>) -> Result<()> {
    let deployment: Deployment = client.get(&which.path(""))?;
    let stage = stage.map_or(String::new(), |stage| format!("&stage={}", stage.as_str()));
    let mut all: Vec<DeviceProgress> = Vec::new();
    let mut after = String::new();
    loop {
        let page: Page<DeviceProgress> =
            client.get(&which.path(&format!("/devices?limit=1000{stage}{after}")))?;
        let next = page.items.last().filter(|_| page.more).map(|last| format!("&after={}", last.device));
        all.extend(page.items);
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    if is_json() {
        return show(&serde_json::json!({"deployment": deployment, "devices": all}));
    }
    line(&summary(&deployment))?;
    for release in &deployment.releases {
        line(&format!("release   {release}"))?;
    }
    for app in &deployment.remove {
        line(&format!("remove    {app}"))?;
    }
    all.iter().try_for_each(|device| line(&device_line(device.device.as_str(), device)))
}

fn device_line(name: &str, device: &DeviceProgress) -> String {
    let stage = device.stage.map_or("told", Stage::as_str);
    let reason = printable(device.reason.as_str());
    let separator = if reason.is_empty() { "" } else { ": " };
    let release = printable(device.release.as_str());
    let space = if release.is_empty() { "" } else { " " };
    format!("{name} {stage}{space}{release}, {} bytes fetched{separator}{reason}", device.fetched)
}

/// What a device runs, and how its updates went.
pub(super) fn print_updates(updates: &DeviceUpdates) -> Result<()> {
    if is_json() {
        return show(updates);
    }
    match &updates.os {
        Some(os) => line(&format!("system    {os}"))?,
        None => line("it has not asked for updates yet")?,
    }
    for app in &updates.apps {
        line(&format!("app       {} {}", printable(app.app.as_str()), printable(app.version.as_str())))?;
    }
    if let Some(number) = updates.deployment {
        line(&format!("meant to  deployment {number}"))?;
    }
    if let Some(order) = &updates.order {
        line(&super::orders::line_of(order))?;
    }
    updates.progress.iter().try_for_each(|device| line(&device_line(&device.deployment.to_string(), device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_a_time_of_the_week() {
        assert_eq!(window("mon-00:00+1"), Ok(Window { from: 0, minutes: 1 }));
        assert_eq!(window("sun-23:59+10080"), Ok(Window { from: 10_079, minutes: 10_080 }));
        for bad in [
            "",
            "mon",
            "mon-24:00+1",
            "mon-1:60+1",
            "day-00:00+1",
            "mon-00:00+0",
            "mon-00:00+10081",
            "mon-00:00",
        ] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }
}
