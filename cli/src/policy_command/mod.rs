//! `gabion policy`: what an app's manifest should say, and what a new one changes. Learning is there on x86-64 only.

mod diff;
#[cfg(target_arch = "x86_64")]
mod learn;

use clap::Subcommand;

/// What is asked about manifests.
#[derive(Subcommand)]
pub(crate) enum Asked {
    Diff(diff::Asked),
    #[cfg(target_arch = "x86_64")]
    Learn(learn::Asked),
}

/// Whether the answer is yes, as `gabion`'s exit codes have it.
pub(crate) fn run(asked: Asked) -> anyhow::Result<bool> {
    match asked {
        Asked::Diff(asked) => diff::run(&asked),
        #[cfg(target_arch = "x86_64")]
        Asked::Learn(asked) => learn::run(&asked),
    }
}
