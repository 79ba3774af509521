//! `gabion`: the app developer's tool. It answers questions about manifests, with the device's own code, and talks to a
//! developer's device.
//!
//! How it ends is in `exit`, and how it shows what it has to say in `output`.

mod act;
mod apps;
mod bus;
mod deploy;
mod developer;
mod diagnostic;
mod doctor;
mod exit;
mod image;
mod local;
mod manifest;
mod network;
mod output;
mod policy_command;
mod progress;
mod project;
mod repository;
mod scratch;
mod service;
mod shell;
mod update;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use exit::Exit;
use serde_json::json;

/// Gabion: ordinary Linux programs in boxes.
#[derive(Parser)]
#[command(name = "gabion", version, after_help = EXIT_CODES)]
struct Cli {
    /// The answer as JSON on standard output, and an error as one line of JSON on standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a manifest and say what to write instead of what is wrong.
    Check(manifest::CheckAsked),
    /// Say whether an app may do something, and by which line of its manifest.
    Explain(manifest::ExplainAsked),
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
    /// Build an app and run it on a developer's device, in place of the one before.
    #[command(after_help = EXIT_CODES)]
    Deploy(deploy::Asked),
    /// Remove an app that was deployed, with all that it has stored; what lay beneath it comes back.
    Rm(deploy::RemoveAsked),
    /// Debug an app on a developer's device, by this machine's gdb.
    #[command(after_help = EXIT_CODES)]
    Debug(deploy::DebugAsked),
    /// Show what apps use: processor, memory, tasks, storage, network.
    Stats(deploy::StatsAsked),
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
    /// Your own key, the permits that you have, and developer mode on a device.
    #[command(subcommand)]
    Developer(developer::Asked),
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
    /// Say what this machine is missing for boxes, packages and devices, and whether a device and the service answer.
    Doctor(doctor::Asked),
    /// Print what completes the command line in a shell.
    Completions(shell::CompletionsAsked),
    /// Write manual pages, one for each command.
    Man(shell::ManAsked),
    /// List what the exit codes say.
    #[command(name = "exit-codes", after_help = exit::table())]
    ExitCodes,
}

const EXIT_CODES: &str = "Exit codes: 0 yes or done; 1 no, or it has problems; 2 not understood; 3 not reached; 4 refused; 5 not found; \
                          6 failed. See `gabion help exit-codes`.";

fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => {
            output::begin(cli.json);
            match run(cli.command) {
                Ok(true) => Exit::Yes,
                Ok(false) => Exit::No,
                Err(error) => exit::tell(&error),
            }
        }
        Err(error) => not_understood(&error),
    };
    exit.into()
}

/// Says what is wrong with the command line, or the help that it asked for.
fn not_understood(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        print!("{error}");
        return Exit::Yes;
    }
    // Nobody has parsed it, so it is looked for as it stands.
    if std::env::args_os().any(|word| word == "--json") {
        let text = error.to_string();
        let (message, help) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.trim_start_matches("error: ");
        let (exit, code) = (Exit::Usage as u8, Exit::Usage.word());
        eprintln!(
            "{}",
            json!({"error": {"code": code, "exit": exit, "message": message, "help": help.trim()}})
        );
    } else {
        eprint!("{error}");
    }
    Exit::Usage
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Check(asked) => manifest::check(&asked),
        Command::Explain(asked) => manifest::explain(asked),
        Command::Schema => Ok(output::print(&policy::schema())),
        Command::New(asked) => project::new(asked),
        Command::Import(asked) => project::import(asked),
        Command::Build(asked) => project::build(asked),
        Command::Run(asked) => local::run(asked),
        Command::Deploy(asked) => deploy::deploy(asked),
        Command::Rm(asked) => deploy::remove(asked),
        Command::Debug(asked) => deploy::debug(asked),
        Command::Stats(asked) => deploy::stats(asked),
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
        Command::Developer(asked) => developer::run(asked),
        Command::Repository(asked) => repository::run(asked),
        Command::Image(asked) => image::run(asked),
        Command::Deployment(asked) => service::deployment::run(asked),
        Command::Feed(asked) => service::feed::run(asked),
        Command::Update(asked) => update::run(asked),
        Command::Attest(asked) => service::attest(asked),
        Command::Doctor(asked) => doctor::run(asked),
        Command::Completions(asked) => shell::completions(&asked, Cli::command()),
        Command::Man(asked) => shell::man(&asked, Cli::command()),
        Command::ExitCodes => output::answer(&exit::json(), exit::table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
