//! `gabion`: the app developer's tool. It answers questions about manifests, with the device's own code, and talks to a
//! developer's device.
//!
//! Exit codes: 0 yes or done, 1 no (a manifest with problems, or one that gains something; a denied act; a call that was
//! refused or failed), 2 the question could not be asked (bad arguments, no device).

mod act;
mod apps;
mod bus;
mod image;
mod local;
mod network;
mod policy_command;
mod project;
mod repository;
mod service;
mod update;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use policy::{Board, Manifest};

/// Gabion: ordinary Linux programs in boxes.
#[derive(Parser)]
#[command(name = "gabion", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a manifest and say what to write instead of what is wrong.
    Check {
        /// The manifest, or a directory that holds `manifest.toml`.
        #[arg(default_value = ".")]
        manifest: PathBuf,
    },
    /// Say whether an app may do something, and by which line of its manifest.
    Explain {
        /// The manifest, or a directory that holds `manifest.toml`.
        manifest: PathBuf,
        /// What the app would do.
        #[command(subcommand)]
        act: act::Asked,
    },
    /// Print the JSON Schema of the manifest.
    Schema,
    /// Make an app that builds, runs and has a test, to go on from.
    New(project::NewAsked),
    /// Make an app of a container image.
    Import(project::ImportAsked),
    /// Make the package of an app.
    Build(project::BuildAsked),
    /// Run an app on this machine, in the box that a device would give it.
    #[command(after_help = EXIT_CODES)]
    Run(local::Asked),
    /// List the apps of a developer's device, and how each is doing.
    Ps(apps::Listed),
    /// Show what an app wrote.
    Logs(apps::Logged),
    /// Start an app.
    Start(apps::Told),
    /// End an app; it stays ended until somebody starts it or the device boots.
    Stop(apps::Told),
    /// End an app and start it again.
    Restart(apps::Told),
    /// Erase all that an app has stored.
    Wipe(apps::Wiped),
    /// Say what an app was refused, with the manifest line that would allow it, and how it last crashed.
    Why(apps::Asked),
    /// Learn a manifest from a program, and say what a new one gains and loses.
    #[command(after_help = EXIT_CODES)]
    #[command(subcommand)]
    Policy(policy_command::Asked),
    /// Talk to the bus of a developer's device, as `make run` boots one.
    #[command(after_help = EXIT_CODES)]
    Bus(bus::Asked),
    /// Ask a developer's device about its network: how far it goes, what an app may reach, and why not.
    #[command(after_help = EXIT_CODES)]
    Net(network::Asked),
    /// Say what the device's clock shows, who set it, and how far off it may be.
    #[command(after_help = EXIT_CODES)]
    Time(network::TimeAsked),
    /// Sign in to a Security Service, or run one.
    #[command(subcommand)]
    Service(service::Asked),
    /// Make a catalog: everything else is in one.
    #[command(subcommand)]
    Catalog(service::fleet::CatalogAsked),
    /// Products of a catalog.
    #[command(subcommand)]
    Product(service::fleet::ProductAsked),
    /// Groups of a product, and what their devices must be.
    #[command(subcommand)]
    Group(service::fleet::GroupAsked),
    /// Releases of a catalog: publish, withdraw.
    #[command(subcommand)]
    Release(service::fleet::ReleaseAsked),
    /// Devices of a catalog: list, claim, move, transfer, revoke.
    #[command(subcommand)]
    Device(service::DeviceAsked),
    /// Make, sign and publish a repository of updates, in a folder.
    #[command(subcommand)]
    Repository(repository::Asked),
    /// Releases of images: payloads made, signed, published by the service.
    #[command(subcommand)]
    Image(image::Asked),
    /// Have groups of devices run releases, in waves; see how far they are.
    #[command(subcommand)]
    Deployment(service::deployment::DeploymentAsked),
    /// Streams of releases that groups follow: stable, evaluation.
    #[command(subcommand)]
    Feed(service::feed::FeedAsked),
    /// Ask a developer's device for updates, and put them off.
    #[command(after_help = EXIT_CODES)]
    Update(update::Asked),
    /// What a device showed of itself, and what it should be.
    #[command(subcommand)]
    Attest(service::AttestAsked),
}

const EXIT_CODES: &str =
    "Exit codes: 0 yes or done; 1 no, refused, or an error reply; 2 the question could not be asked.";

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("gabion: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Check { manifest } => Ok(read(&manifest)?.inspect(|_| println!("ok")).is_some()),
        Command::Explain { manifest, act } => {
            let act = act.parse()?;
            let Some(manifest) = read(&manifest)? else { return Ok(false) };
            let verdict = policy::explain(&manifest, &act);
            println!("{}: {}", if verdict.allowed { "allowed" } else { "denied" }, verdict.because);
            Ok(verdict.allowed)
        }
        Command::Schema => {
            print!("{}", policy::schema());
            Ok(true)
        }
        Command::New(asked) => project::new(asked),
        Command::Import(asked) => project::import(asked),
        Command::Build(asked) => project::build(asked),
        Command::Run(asked) => local::run(asked),
        Command::Ps(asked) => apps::ps(asked),
        Command::Logs(asked) => apps::logs(asked),
        Command::Start(told) => apps::tell("Start", "started", told),
        Command::Stop(told) => apps::tell("Stop", "stopped", told),
        Command::Restart(told) => apps::tell("Restart", "started again", told),
        Command::Wipe(asked) => apps::wipe(asked),
        Command::Why(asked) => apps::why(asked),
        Command::Policy(asked) => policy_command::run(asked),
        Command::Bus(asked) => bus::run(asked),
        Command::Net(asked) => network::run(asked),
        Command::Time(asked) => network::time(asked),
        Command::Service(asked) => service::run(asked),
        Command::Catalog(asked) => service::fleet::catalog(asked),
        Command::Product(asked) => service::fleet::product(asked),
        Command::Group(asked) => service::fleet::group(asked),
        Command::Release(asked) => service::fleet::release(asked),
        Command::Device(asked) => service::device(asked),
        Command::Repository(asked) => repository::run(asked),
        Command::Image(asked) => image::run(asked),
        Command::Deployment(asked) => service::deployment::run(asked),
        Command::Feed(asked) => service::feed::run(asked),
        Command::Update(asked) => update::run(asked),
        Command::Attest(asked) => service::attest(asked),
    }
}

/// The checked manifest, or `None` after its problems were printed.
fn read(path: &Path) -> anyhow::Result<Option<Manifest>> {
    let file = if path.is_dir() { path.join("manifest.toml") } else { path.to_owned() };
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    match policy::check(&text, &Board::default()) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Ok(None)
        }
    }
}
