//! `gabion policy learn`: watches a program in its box and proposes its manifest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use boxed::record::Use;
use boxed::{Answers, App, End, Learned, Network, Run, Show, Watch, Wish};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::local::{self, ended, explained};
use crate::{diagnostic, output, project};

/// Run a program in a recording box on this machine, as root, and propose the smallest manifest for it, with the evidence
/// for every line.
///
/// The box is the one a device would give it, with the widest grants that a manifest can have. What the program does not
/// do while it is watched is not in the proposal: let it do all of its work.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The app's directory: `manifest.toml`, of which [app] is enough, and either `app.list`, by which it is built first, or
    /// `root/`.
    #[arg(required_unless_present = "root", conflicts_with_all = ["root", "exec"])]
    app: Option<PathBuf>,
    /// A root directory without a manifest; with --exec.
    #[arg(long, requires = "exec")]
    root: Option<PathBuf>,
    /// The program in that root, an absolute path; its arguments come after `--`.
    #[arg(long, requires = "root")]
    exec: Option<String>,
    /// End the program after this time, as "30s" or "5m", as a device would end it. By default it ends when it likes, or by
    /// Ctrl-C.
    #[arg(long = "for", value_name = "TIME")]
    time: Option<policy::Duration>,
    /// Write the manifest to this file; it must not be there yet. By default it goes to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replies for the program's calls on the bus, as `{"os.gabion.Device.GetInfo": {…}}`. Others are recorded, and answered
    /// with MethodNotImplemented.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// A loopback of its own instead of this machine's network.
    #[arg(long)]
    offline: bool,
    /// Run the program once more under the proposal, in the box a device would give it, and say whether that ends the same.
    #[arg(long)]
    confirm: bool,
    /// Arguments for this run, after those of the manifest.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Whether it was learnt; with --confirm, whether it passed.
pub(crate) fn run(asked: &Asked) -> anyhow::Result<bool> {
    explained(boxed::ready())?;
    let app = app(asked)?;
    let answers = asked.answers.as_deref().map(|path| explained(Answers::read(path))).transpose()?;
    let answers = answers.unwrap_or_default();
    if let Some(out) = asked.out.as_deref().filter(|out| out.exists()) {
        let message = format!("{} is there already", out.display());
        return Err(Failure::new(Exit::Usage, message).help("move it away, or choose another name").into());
    }
    let enough = local::until_interrupted()?;
    let network = if asked.offline { Network::Alone } else { Network::Machine };
    let time = asked.time.map(|time| Duration::from_millis(time.milliseconds().into()));
    let (show, watch) = (Show::Aside, Watch::Spare);
    let wish = Wish { network, answers: &answers, time, enough: &enough, show, watch, data: None };
    announce(&app, asked);
    let learned = explained(boxed::learn(&app, &wish, |what| eprintln!("gabion: {what}")))?;
    eprintln!("gabion: {}", summary(&learned.run));
    learned.proposal.remarks.iter().for_each(|remark| eprintln!("gabion: note: {remark}"));
    let printed =
        if output::is_json() { as_json(&learned) } else { heading(&learned) + &learned.proposal.text };
    write(asked.out.as_deref(), &printed)?;
    if asked.confirm { confirm(&app, &learned, &wish) } else { Ok(true) }
}

/// The app, with this run's arguments.
fn app(asked: &Asked) -> anyhow::Result<App> {
    let Some(root) = &asked.root else {
        let place = asked.app.as_deref().unwrap_or(Path::new("."));
        diagnostic::manifest(&place.join("manifest.toml"))?;
        let app = explained(App::open(&project::rooted(place)?))?;
        return Ok(App { arguments: asked.arguments.clone(), ..app });
    };
    let program = asked.exec.iter().chain(&asked.arguments);
    // A JSON text is a TOML one.
    let exec: Vec<String> = program.map(|word| json!(word).to_string()).collect();
    let id = "com.example.learnt";
    let text = format!("[app]\nid = \"{id}\"\nversion = \"0.1.0\"\nexec = [{}]\n", exec.join(", "));
    explained(App::with(&text, root))
}

fn announce(app: &App, asked: &Asked) {
    let network = if asked.offline { "a loopback of its own" } else { "this machine's network" };
    let end = match asked.time {
        Some(time) => format!("after {time}, by its own end or by Ctrl-C"),
        None => "by its own end or by Ctrl-C".to_owned(),
    };
    eprintln!(
        "gabion: recording {} in a box on {network}; it ends {end}. What it writes follows.",
        policy::compile(&app.manifest).argv.join(" ")
    );
}

fn summary(run: &Run) -> String {
    let end = ended(run.end);
    let calls: u64 = run.record.calls.values().map(|times| times.count).sum();
    let own = |wanted| {
        let files = run
            .record
            .files
            .keys()
            .filter(|(path, what, errno)| *what == wanted && *errno == 0 && is_own(path));
        files.count()
    };
    format!(
        "{end}; {calls} system calls, {} of the app's own files read, {} run",
        own(Use::Read),
        own(Use::Execute)
    )
}

/// Whether a path is of the app's root, and not of something mounted on it.
fn is_own(path: &str) -> bool {
    !["/dev", "/proc", "/tmp", "/data", "/run"]
        .iter()
        .any(|top| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

fn heading(learned: &Learned) -> String {
    let mut text = format!(
        "# Proposed by `gabion policy learn`; what each line rests on is behind it.\n# Of this recording: {} (--json lists \
         them).\n",
        summary(&learned.run)
    );
    learned.proposal.remarks.iter().for_each(|remark| text.push_str(&format!("# note: {}\n", remark)));
    text + "\n"
}

fn as_json(learned: &Learned) -> String {
    let lines = learned.proposal.lines.iter().map(|line| {
        json!({ "table": line.table, "key": line.key, "value": line.value, "evidence": line.evidence })
    });
    let files = learned.run.record.files.iter().map(|((path, what, errno), times)| {
        json!({ "path": path, "use": format!("{what:?}").to_lowercase(), "errno": errno, "times": times.count, "by": times.by })
    });
    let all = json!({
        "manifest": learned.proposal.text,
        "lines": lines.collect::<Vec<_>>(),
        "remarks": learned.proposal.remarks,
        "files": files.collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

fn write(out: Option<&Path>, text: &str) -> anyhow::Result<()> {
    let Some(out) = out else {
        print!("{text}");
        return Ok(());
    };
    std::fs::write(out, text).with_context(|| format!("can not write {}", out.display()))?;
    eprintln!("gabion: written to {}", out.display());
    Ok(())
}

/// Runs the program under its proposal: whether it ends the same, and nothing is refused that was not.
fn confirm(app: &App, learned: &Learned, wish: &Wish<'_>) -> anyhow::Result<bool> {
    eprintln!("gabion: once more, under the proposal");
    let plan = policy::compile(&learned.proposal.manifest);
    let again = explained(boxed::run(app, plan, &[], &Wish { watch: Watch::Calls, ..wish.clone() }))?;
    let refused = boxed::newly_refused(learned, &again.record);
    refused.iter().for_each(|call| eprintln!("gabion: refused, as it was not before: {call}"));
    // Unlike the recording it may come to its end before its time is over.
    let sooner = learned.run.end == End::Stopped && again.end.is_good();
    if (again.end == learned.run.end || sooner) && refused.is_empty() {
        let end = ended(again.end);
        eprintln!("gabion: passed: {end} as before, and nothing was refused that was not before");
        return Ok(true);
    }
    eprintln!("gabion: did not pass: {}; when it was recorded, {}", ended(again.end), ended(learned.run.end));
    Ok(false)
}
