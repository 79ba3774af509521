//! `gabion run`: an app in its box on this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use boxed::{Answers, App, End, Network, Show, Watch, Wish};

use crate::bus::Place;
use crate::exit::{Exit, Failure};
use crate::project;

/// Run an app on this machine, as root, in the box that a device would give it: root, uid, capabilities, namespaces, W^X,
/// Landlock and the system call filter are a device's.
///
/// What differs: memory and CPU limits and the quota are not enforced, the network is this machine's without netd's rules,
/// nobody serves the bus but --answers, and `/data` is empty at each start unless --data names a directory.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The app's directory: `manifest.toml`, and either `app.list`, by which it is built first, or `root/`.
    #[arg(default_value = ".")]
    app: PathBuf,
    /// On a developer's device instead of this machine: it is deployed, its log followed until Ctrl-C, and removed. PLACE is the
    /// device's socket, and found as for `gabion ps` if it is not given.
    #[arg(long, value_name = "PLACE", num_args = 0..=1, require_equals = true,
          conflicts_with_all = ["time", "data", "answers", "offline", "arguments"])]
    device: Option<Option<PathBuf>>,
    /// End it after this time, as "30s" or "5m", as a device would end it. By default it ends when it likes, or by Ctrl-C.
    #[arg(long = "for", value_name = "TIME")]
    time: Option<policy::Duration>,
    /// What it finds in `/data`, and leaves there. The directory and what is in it become the box's.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Replies for its calls on the bus, as `{"os.gabion.Device.GetInfo": {…}}`; others are answered with
    /// MethodNotImplemented.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// A loopback of its own instead of this machine's network.
    #[arg(long)]
    offline: bool,
    /// Arguments for this run, after those of the manifest.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Whether it ended well.
pub(crate) fn run(asked: Asked) -> anyhow::Result<bool> {
    if let Some(place) = asked.device {
        return crate::deploy::run_there(Place::at(place), asked.app);
    }
    explained(boxed::ready())?;
    let app = project::rooted(&asked.app)?;
    let app = App { arguments: asked.arguments, ..explained(App::open(&app))? };
    let answers = asked.answers.as_deref().map(|path| explained(Answers::read(path))).transpose()?;
    let (answers, enough) = (answers.unwrap_or_default(), until_interrupted()?);
    let network = if asked.offline { Network::Alone } else { Network::Machine };
    let time = asked.time.map(|time| Duration::from_millis(time.milliseconds().into()));
    let data = asked.data.as_deref();
    let (show, watch) = (Show::AsIs, Watch::Not);
    let wish = Wish { network, answers: &answers, time, enough: &enough, show, watch, data };
    let run = explained(boxed::run(&app, policy::compile(&app.manifest), &[], &wish))?;
    for ((interface, method), times) in &run.record.methods {
        eprintln!("gabion: it called {interface}.{method}, {} times", times.count);
    }
    eprintln!("gabion: {}", ended(run.end));
    if matches!(run.end, End::Killed(31)) {
        eprintln!("gabion: its system call filter ended it; `gabion policy learn` says which call it was");
    }
    Ok(run.end.is_good())
}

/// Set by Ctrl-C, or when somebody else ends us.
pub(crate) fn until_interrupted() -> anyhow::Result<Arc<AtomicBool>> {
    let enough = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&enough)).context("can not catch Ctrl-C")?;
    }
    Ok(enough)
}

/// The error with what to do about it.
pub(crate) fn explained<T>(result: Result<T, boxed::Error>) -> anyhow::Result<T> {
    result.map_err(|error| {
        let (help, text) = (error.help(), error.to_string());
        Failure::new(Exit::of(&error.into()), text).help(help).into()
    })
}

/// How it ended, in words.
pub(crate) fn ended(end: End) -> String {
    match end {
        End::Exited(code) => format!("it ended with exit code {code}"),
        End::Killed(signal) => format!("it was ended by signal {signal}"),
        End::Stopped => "it was stopped".to_owned(),
    }
}
