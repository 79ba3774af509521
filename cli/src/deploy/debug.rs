//! `gabion debug`: this machine's gdb, and an app on the device that runs under gdbserver.
//!
//! ```text
//! gdb ── a socket here ── gabion ── os.gabion.Developer.Debug, DebugInput ── gdbserver, in the app's box ── the app
//! ```
//!
//! gdbserver is this machine's, too: it is sent as a package of its own, once.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{DEVELOPER, bridge, debugger, installed, own_signer, refused};
use crate::bus::{Device, Place, Talk};
use crate::doctor;
use crate::exit::{Exit, Failure};
use crate::output::printable;
use crate::scratch::Scratch;

/// How long what else is being installed on the device is waited for.
const BUSY: Duration = Duration::from_secs(10);
const BUSY_LOOK: Duration = Duration::from_millis(200);

/// Debug an app on a developer's device. It is started again, under gdbserver, and stands before its first instruction; when gdb
/// ends, it is started again as it was. gdb and gdbserver are this machine's.
///
/// Symbols come from the app's directory, where there is one; or else from its files on the device.
#[derive(clap::Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    place: Place,
    /// The app's id.
    app: String,
    /// The directory that the app was deployed from.
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,
    /// The gdb to use. By default gdb, or gdb-multiarch.
    #[arg(long, value_name = "PROGRAM")]
    gdb: Option<PathBuf>,
    /// Words for gdb, after it was connected: `-- -ex 'break main' -ex continue`.
    #[arg(last = true)]
    words: Vec<String>,
}

/// Whether gdb ended well.
pub(crate) fn debug(asked: Asked) -> Result<bool> {
    // Ctrl-C is gdb's: it stops the app by it.
    let _interrupted = crate::local::until_interrupted()?;
    let gdb = program(asked.gdb.as_deref(), &["gdb", "gdb-multiarch"])?;
    let server = program(None, &["gdbserver"])?;
    let device = Device::find(asked.place)?;
    let output = begun(&device, &asked.app, &server)?;
    let input = device.talk(DEVELOPER)?;
    let scratch = Scratch::new()?;
    let socket = scratch.path().join("gdb");
    let listener = UnixListener::bind(&socket).context("making a socket for gdb")?;
    let mut command = Command::new(gdb);
    command.args(["-q", "-iex", "set remotetimeout 120", "-iex", "set debuginfod enabled off"]);
    if let Some(symbols) = Symbols::of(&asked.source, &asked.app)? {
        command.arg("-iex").arg(format!("set sysroot {}", symbols.root.display())).arg(symbols.program);
    }
    command.arg("-ex").arg(format!("target remote {}", socket.display())).args(asked.words);
    let ended = bridge::carry(&asked.app, (output, input), (&listener, &socket), || {
        command.status().context("starting gdb")
    });
    eprintln!("gabion: {} is started again as it was", printable(&asked.app));
    ended.map(|status: ExitStatus| status.success())
}

/// The app stands under gdbserver; what that writes comes from here.
fn begun(device: &Device, app: &str, server: &Path) -> Result<Talk> {
    let mut talk = device.talk(DEVELOPER)?;
    let ask = json!({ "app": app, "server": debugger::ID, "command": debugger::COMMAND });
    let mut began = Instant::now();
    let mut sent = false;
    loop {
        let (name, parameters) = match talk.begin("Debug", &ask)? {
            Ok(_) => return Ok(talk),
            Err(error) => error,
        };
        match (name.as_str(), parameters.get("app").and_then(Value::as_str)) {
            ("NotInstalled", Some(debugger::ID)) if !sent => {
                let scratch = Scratch::new()?;
                let source = debugger::source(server, scratch.path())?;
                let package = super::packed(source.clone(), own_signer(device, &source)?.as_ref())?;
                installed(&mut talk, &package)?;
                (sent, began) = (true, Instant::now());
            }
            ("AppNotFound", _) => {
                let help = "`gabion ps` lists the apps of the device; `gabion deploy` brings one";
                let why = format!("there is no app {app} on the device");
                return Err(Failure::new(Exit::NotFound, why).help(help).into());
            }
            ("Busy", _) if began.elapsed() < BUSY => std::thread::sleep(BUSY_LOOK),
            _ => return Err(refused((name, parameters))),
        }
    }
}

/// Where a program is: the one that is given, or else the first of those that there is.
fn program(given: Option<&Path>, usual: &[&str]) -> Result<PathBuf> {
    let found = match given {
        Some(path) if path.components().count() > 1 => Some(path.to_owned()).filter(|path| path.is_file()),
        Some(name) => doctor::found(name),
        None => usual.iter().find_map(doctor::found),
    };
    found.ok_or_else(|| {
        let name = given.or(usual.first().map(Path::new)).unwrap_or(Path::new("gdb"));
        let why = format!("there is no {} on this machine", name.display());
        Failure::new(Exit::Failed, why).help("apt-get install gdb gdbserver").into()
    })
}

/// What gdb reads symbols from.
struct Symbols {
    root: PathBuf,
    program: PathBuf,
}

impl Symbols {
    /// Those of the app's directory, if it is this app's and was built.
    fn of(source: &Path, app: &str) -> Result<Option<Self>> {
        let Ok(text) = fs::read_to_string(source.join("manifest.toml")) else { return Ok(None) };
        let plan =
            policy::check(&text, &policy::Board::default()).ok().map(|manifest| policy::compile(&manifest));
        let Some(plan) = plan.filter(|plan| plan.id.as_str() == app) else { return Ok(None) };
        let built = [source.join(".gabion/app/root"), source.join("root")];
        let Some(root) = built.into_iter().find(|root| root.is_dir()) else { return Ok(None) };
        let root = root.canonicalize().with_context(|| format!("looking at {}", root.display()))?;
        let program = plan.argv.first().map(|program| root.join(program.trim_start_matches('/')));
        Ok(program.filter(|program| program.exists()).map(|program| Self { root, program }))
    }
}
