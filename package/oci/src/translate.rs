//! An image's configuration in the words of a manifest, and what does not carry over.

use std::fmt::Write as _;

use crate::flatten::Tree;
use crate::image::{Config, Run};

/// Directories that are searched where an image's environment has no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest list of what was left out of one kind.
const SHOWN: usize = 8;

/// What became of an image's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The text of `manifest.toml`.
    pub manifest: String,
    /// What does not carry over, one line each, with what to do about it.
    pub report: Vec<String>,
}

/// The manifest of the image's app, called `id`.
pub fn translate(config: &Config, tree: &Tree, id: &str) -> Translated {
    let run = &config.config;
    let mut report = Vec::new();
    let exec = exec(run, tree, &mut report);
    let version = version(run);
    let words: Vec<String> = exec.iter().map(|word| quoted(word)).collect();
    let mut text = String::from("# Translated from a container image by `gabion import`.\n\n[app]\n");
    let _ = write!(
        text,
        "id = {}\nversion = \"{version}\"\nexec = [{}]\n\n[resources]\nmemory = \"64MiB\"\ntasks = 64\n",
        quoted(id),
        words.join(", ")
    );
    if let Some(volumes) = run.volumes.as_ref().filter(|volumes| !volumes.is_empty()) {
        text.push_str("storage = \"16MiB\"\n");
        let all: Vec<&str> = volumes.keys().map(String::as_str).take(SHOWN).collect();
        report.push(format!(
            "volumes {}: an app keeps what it writes in /data and nowhere else; tell it so by an argument or a variable",
            all.join(", ")
        ));
    }
    process(run, &mut text, &mut report);
    ports(run, &mut text, &mut report);
    text.push_str("\n[lifecycle]\nrestart = \"always\"\n");
    rest(run, tree, &mut report);
    Translated { manifest: text, report: report.iter().map(|line| printable(line)).collect() }
}

fn exec(run: &Run, tree: &Tree, report: &mut Vec<String>) -> Vec<String> {
    let both = run.entrypoint.iter().flatten().chain(run.cmd.iter().flatten());
    let mut words: Vec<String> = both.cloned().collect();
    let Some(program) = words.first_mut() else {
        report.push("it names no program: write one into app.exec".to_owned());
        return vec!["/bin/sh".to_owned()];
    };
    if !program.starts_with('/') {
        let path = run.env.iter().flatten().find_map(|word| word.strip_prefix("PATH=")).unwrap_or(PATH);
        let found = path.split(':').find_map(|directory| tree.program(&format!("{directory}/{program}")));
        match found {
            Some(found) => *program = found,
            None => {
                report.push(format!("its program {program} is nowhere in PATH: correct app.exec"));
                *program = format!("/{program}");
            }
        }
    } else if tree.program(program).is_none() {
        report.push(format!("its program {program} is not in it, or can not be executed: correct app.exec"));
    }
    words
}

/// Three numbers, if the image's label has them.
fn version(run: &Run) -> String {
    let label = run.labels.as_ref().and_then(|labels| labels.get("org.opencontainers.image.version"));
    let is = |text: &&String| {
        let parts: Vec<&str> = text.split('.').collect();
        parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok_and(|n| n.to_string() == *part))
    };
    label.filter(is).cloned().unwrap_or_else(|| "1.0.0".to_owned())
}

fn process(run: &Run, text: &mut String, report: &mut Vec<String>) {
    let mut variables = String::new();
    for word in run.env.iter().flatten() {
        let Some((name, value)) = word.split_once('=') else { continue };
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if plain && !value.chars().any(char::is_control) && !name.starts_with("LD_") {
            let _ = writeln!(variables, "{name} = {}", quoted(value));
        } else {
            report.push(format!("the variable {name}: its name or value can not be in a manifest"));
        }
    }
    let directory = run.working_dir.as_str();
    if directory.starts_with('/') && directory.len() > 1 {
        let _ =
            write!(text, "\n[process]\nworking_directory = {}\n", quoted(directory.trim_end_matches('/')));
    }
    if !variables.is_empty() {
        let _ = write!(text, "\n[process.environment]\n{variables}");
    }
}

fn ports(run: &Run, text: &mut String, report: &mut Vec<String>) {
    let mut listen = Vec::new();
    for port in run.exposed_ports.iter().flatten().map(|(port, _)| port) {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        match number.parse::<u16>() {
            Ok(1..) if matches!(protocol, "tcp" | "udp") => listen.push(format!("\"{number}/{protocol}\"")),
            _ => report.push(format!("the port {port}: an app listens on one TCP or UDP port per line")),
        }
    }
    if !listen.is_empty() {
        let _ = write!(text, "\n[network]\nlisten = [{}]\n", listen.join(", "));
    }
    report.push(
        "the network: a container may reach everybody, an app nobody that network.connect does not name; \
         `gabion policy learn` proposes the lines"
            .to_owned(),
    );
}

fn rest(run: &Run, tree: &Tree, report: &mut Vec<String>) {
    if !matches!(run.user.as_str(), "" | "0" | "root" | "0:0") {
        report.push(format!("the user {}: every app has a user of its own, and only that", run.user));
    } else {
        report.push(
            "root: the app has a user of its own without any capability; a start script that changes owners or users fails"
                .to_owned(),
        );
    }
    if !matches!(run.stop_signal.as_str(), "" | "SIGTERM" | "15") {
        report.push(format!(
            "the stop signal {}: an app gets SIGTERM, and SIGKILL after a while",
            run.stop_signal
        ));
    }
    if run.healthcheck.is_some() {
        report.push(
            "the health check: write lifecycle.watchdog, and have it say WATCHDOG=1 (sd_notify)".to_owned(),
        );
    }
    for (what, paths) in &tree.left_out {
        let all: Vec<&str> = paths.iter().map(String::as_str).take(SHOWN).collect();
        report.push(format!("{what}: left out, as of {}", all.join(", ")));
    }
}

/// A TOML string; a JSON text is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Text of an image, fit for a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
