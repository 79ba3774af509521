//! `gabion policy`: what an app's manifest should say, and what a new one changes.

mod diff;

use clap::Subcommand;

/// What is asked about manifests.
#[derive(Subcommand)]
pub(crate) enum Asked {
    Diff(diff::Asked),
}

/// Whether the answer is yes, as `gabion`'s exit codes have it.
pub(crate) fn run(asked: Asked) -> anyhow::Result<bool> {
    match asked {
        Asked::Diff(asked) => diff::run(&asked),
    }
}
