//! Devices with all attacks at once, and neighbours that must not notice.
//!
//! A boot costs more than a box, so one device has as many as its store and its console take. Every neighbour and every
//! daemon must be there afterwards, the same as before. Apps are launched in the order of their ids, and the neighbours'
//! come before all attacks'.

use crate::corpus::Attack;
use crate::layers::KERNEL;
use crate::program;
use crate::variants::{self, Variant};
use anyhow::{Result, ensure};
use device_test::{App, Bench, Device, Off, PATIENCE, Site, word};
use image::assemble::SETTINGS;
use image::paths::Tree;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Boxes of attacks on one device. `init` keeps 256 in all.
const AT_ONCE: usize = 160;
/// Each box has its own copy of its program in memory.
const MEMORY_MIB: u32 = 512;
/// How long so many may take to come up, one after the other, beside other tests.
const UP: Duration = Duration::from_secs(900);
/// Room, and inodes, for all that boxes without a quota take at once: on a full disk the others would be refused for that.
const DATA_BYTES: u64 = 2 << 30;
/// Processes that no attack may end.
const DAEMONS: [&str; 5] = ["init", "sandboxd", "busd", "appsd", "netd"];

/// What a device must not say: somebody ended who should not, or lines are missing that would be counted on.
const LOSSES: [&str; 5] = [
    "event manager-exited",
    "event exited id=os.gabion.",
    "event exited id=net.attack.neighbour.",
    "not shown",
    "denied-silenced",
];

const HEART: &str = "n=0; while true; do n=$((n+1)); echo beat $n; sleep 1; done";

/// What was seen of the boxes, by their apps' ids.
#[derive(Debug, Default)]
pub struct Seen {
    answers: BTreeMap<(String, String), String>,
    events: BTreeMap<String, Vec<String>>,
    audit: Vec<String>,
}

impl Seen {
    /// What the box `id` said of a try; empty if nothing.
    pub fn answer(&self, id: &str, name: &str) -> &str {
        self.answers.get(&(id.to_owned(), name.to_owned())).map_or("", String::as_str)
    }

    /// What the device said of the box `id`.
    pub fn events(&self, id: &str) -> &[String] {
        self.events.get(id).map_or(&[], Vec::as_slice)
    }

    /// What the device's audit log has of the box `id`.
    pub fn audit(&self, id: &str) -> Vec<&str> {
        let app = format!("\"{id}\"");
        self.audit.iter().filter(|line| line.contains(&app)).map(String::as_str).collect()
    }

    fn add(&mut self, line: &str) {
        if let Some((id, said)) = line.strip_prefix('[').and_then(|line| line.split_once("] try ")) {
            if let Some((name, answer)) = said.split_once(": ") {
                self.answers.insert((id.to_owned(), name.to_owned()), answer.to_owned());
            }
        } else if let Some(event) = line.strip_prefix("gabion: event ")
            && let Some(id) = word(event, "id")
        {
            self.events.entry(id.to_owned()).or_default().push(event.to_owned());
        }
    }
}

/// Tries all of them in all of their boxes.
///
/// # Errors
/// A program or an image that cannot be made; a device that lost something. Panics, as tests do, when something that
/// must be said is not.
pub fn run(tree: &Tree, attacks: &[Attack]) -> Result<Seen> {
    let mut boxes = Vec::new();
    for attack in attacks {
        let files = program::build(tree, attack)?;
        for variant in variants::of(attack) {
            let app = app(attack, &variant, &files)?;
            boxes.push((variant.lacks.contains(KERNEL), Tried { id: variant.id, app }));
        }
    }
    let mut seen = Seen::default();
    // Kernels with and without their settings are different devices.
    for without_kernel in [false, true] {
        let of_kind = boxes.iter().filter(|(without, _)| *without == without_kernel);
        let of_kind: Vec<&Tried> = of_kind.map(|(_, tried)| tried).collect();
        for boxes in of_kind.chunks(AT_ONCE) {
            one_device(boxes, without_kernel, &mut seen)?;
        }
    }
    Ok(seen)
}

/// A box of an attack.
struct Tried {
    id: String,
    app: App,
}

fn one_device(boxes: &[&Tried], without_kernel: bool, seen: &mut Seen) -> Result<()> {
    let name = if without_kernel { "attack-kernel" } else { "attack" };
    let site = Site::complete()?;
    let mut bench = Bench::new(name)
        .weak()
        .memory_mib(MEMORY_MIB)
        .data_bytes(DATA_BYTES)
        .app(heart())
        .app(caller())
        .app(listener())
        .app(named())
        .app(server("local", "127.0.0.1:8099", "localhost:8099"))
        .app(server("public", "0.0.0.0:8098", "8098"))
        .beside(&site);
    if without_kernel {
        bench = bench.without_words(SETTINGS).words("proc_mem.force_override=always");
    }
    for tried in boxes {
        bench = bench.app(tried.app.clone());
    }
    let mut device = bench.boot()?;
    // The neighbours are the first; the daemons are looked at once everybody was launched.
    device.wait_count(0, "gabion: ready ", 1, UP);
    device.wait_count(0, "[net.attack.neighbour.caller] peer: Ok(", 1, UP);
    let before = daemons(&mut device);
    for tried in boxes {
        wait_done(&device, tried)?;
    }
    let mark = device.console().mark();
    device.wait_count(mark, "[net.attack.neighbour.heart] beat", 3, PATIENCE);
    device.wait_count(mark, "[net.attack.neighbour.caller] peer: Ok(", 2, PATIENCE);
    ensure!(daemons(&mut device) == before, "a daemon is not the one it was: before, {before:?}");
    let lines = device.console().lines(0, "");
    for gone in LOSSES {
        let found: Vec<&String> = lines.iter().filter(|line| line.contains(gone)).collect();
        ensure!(found.is_empty(), "the device said {found:?}");
    }
    // Apps write this in every way they can. Only the device begins a line so.
    let forged: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("gabion: event exited id=os.forged")).collect();
    ensure!(forged.is_empty(), "an app wrote as the device: {forged:?}");
    lines.iter().for_each(|line| seen.add(line));
    let off = device.power_button();
    off.check_data()?;
    seen.audit.extend(log(&off, "os.gabion.bus").lines().map(|line| line.replace("\\\"", "\"")));
    for Tried { id, .. } in boxes {
        if lines.iter().any(|line| line.starts_with(&hidden(id))) {
            let log = log(&off, id);
            ensure!(log.contains("tries done"), "{id} has not done all its tries; its log has:\n{log}");
            // Behind the time and the stream.
            let said = log.lines().filter_map(|line| line.splitn(3, ' ').nth(2));
            said.for_each(|line| seen.add(&format!("[{id}] {line}")));
        }
    }
    Ok(())
}

/// How the device begins to tell that the console had no room for lines of a box, which its log has.
fn hidden(id: &str) -> String {
    format!("gabion: log id={id} ")
}

/// Waits until the box has said its last word. If that may be among those that the console had no room for, it has ended.
fn wait_done(device: &Device, Tried { id, .. }: &Tried) -> Result<()> {
    let until = Instant::now() + UP;
    let said = |what: &str| !device.console().lines(0, what).is_empty();
    let ended = || said(&format!("gabion: event exited id={id} "));
    let done = || said(&format!("[{id}] tries done")) || said(&hidden(id)) && ended();
    while !done() {
        ensure!(Instant::now() < until, "{id} has not done all its tries");
        sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// What an app's log has on the device's disk. The first file is there once the second was full.
fn log(off: &Off, id: &str) -> String {
    ["current.1", "current"]
        .map(|file| off.read_file(&format!("/logs/{id}/{file}")).unwrap_or_default())
        .concat()
}

fn app(attack: &Attack, variant: &Variant, files: &program::Files) -> Result<App> {
    let mut app = App::bare(&variant.id, &variants::manifest(attack, variant)?);
    for (path, content) in files {
        app = app.file(path, content);
    }
    let lacks: Vec<&str> =
        variant.lacks.iter().map(String::as_str).filter(|layer| *layer != KERNEL).collect();
    Ok(if lacks.is_empty() { app } else { app.lacking(&lacks) })
}

fn heart() -> App {
    App::shell("net.attack.neighbour.heart", HEART)
}

/// Asks the device who it is once a second, by a new connection each time.
fn caller() -> App {
    App::peer("net.attack.neighbour.caller", &["every", "os.gabion.Device", "GetInfo", "{}"])
        .tables("[uses]\n\"os.gabion.Device\" = [\"GetInfo\"]\n")
}

/// Listens to whoever shares its network, leaves marks wherever it may write, and locks its standard input.
fn listener() -> App {
    App::probe("net.attack.neighbour.listener", &["neighbour"])
        .resources("memory = \"8MiB\"\ntasks = 8\nstorage = \"1MiB\"\n")
}

/// May ask for a name that no attack may ask for.
fn named() -> App {
    App::shell("net.attack.neighbour.named", "sleep 100000")
        .tables("[network]\nconnect = [\"store.example:6379/tcp\"]\n")
}

/// Says hello to whoever connects there.
fn server(name: &str, address: &str, listen: &str) -> App {
    App::probe(&format!("net.attack.neighbour.{name}"), &["serve", address])
        .tables(&format!("[network]\nlisten = [\"{listen}/tcp\"]\n"))
}

/// Pid, owner and name of each. An app that is being launched is called as init is until it is what it is to be, and has its owner
/// until it has its own: apps' uids are higher, and init's pid is 1.
fn daemons(device: &mut Device) -> Vec<String> {
    const APPS: u32 = 10_000;
    let all = device.agent("ps");
    let is_one = |line: &&String| {
        let words: Vec<&str> = line.split(' ').collect();
        let system = words.get(1).and_then(|uid| uid.parse().ok()).is_some_and(|uid: u32| uid < APPS);
        let is_launched = words.get(2) == Some(&"init") && words.first() != Some(&"1");
        system && !is_launched && words.get(2).is_some_and(|comm| DAEMONS.contains(comm))
    };
    all.iter().filter(is_one).cloned().collect()
}
