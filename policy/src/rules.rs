//! What must hold between the values of a manifest, and against the board's ceiling.
//!
//! One function, [`broken`], for both roads a manifest comes by: as text through the checker, and as bytes from the
//! worker, who may be an attacker. A rule that only the text's road knew would not be a rule.

use crate::amount::{Bytes, Duration};
use crate::board::Board;
use crate::bus;
use crate::capability;
use crate::facts::{Facts, Profile};
use crate::name::{AppId, InterfaceName};
use crate::place::DeviceClass;
use std::collections::BTreeSet;

/// A rule that does not hold: the key to blame, the fault, the remedy.
pub(crate) struct Broken {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Smallest memory limit in which a process can start at all (measured: a static binary needs about 400 KiB).
const MEMORY_MIN: Bytes = Bytes::mebibytes(1);
/// Fewest open files: standard streams, the watchdog's socket and a handful of the program's own.
const OPEN_FILES_MIN: u32 = 16;
/// A stop that takes longer would hold up a shutdown.
const STOP_TIMEOUT_MAX: Duration = Duration::seconds(90);
/// A shorter watchdog would fire on ordinary scheduling delays.
const WATCHDOG_MIN_MS: u32 = 100;

/// Longest lists. Each entry costs kernel memory (a Landlock rule, a socket, a mount) charged to nobody.
const ARGUMENTS_MAX: usize = 63;
const ENVIRONMENT_MAX: usize = 64;
const CONNECT_MAX: usize = 64;
const LISTEN_MAX: usize = 32;
const DEVICES_MAX: usize = 16;
const INTERFACES_MAX: usize = 32;
const NAMES_MAX: usize = 64;

/// Ports that the kernel gives to whoever wants any (`net.ipv4.ip_local_port_range`). A socket that listens without being
/// bound gets one of these: Landlock has no rule for `listen`, and a filter sees no difference. So nobody may be sent there.
const GIVEN_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Ports of DNS, DHCP (of both versions), NTP and mDNS: `netd` has them, or an app that had could pass for a server of the
/// device.
const SYSTEM_PORTS: [u16; 7] = [53, 67, 68, 123, 546, 547, 5353];

/// Every rule that `facts` break. `system` says whether they come from the image itself.
pub(crate) fn broken(facts: &Facts, ceiling: &Board, system: bool) -> Vec<Broken> {
    let mut found = Vec::new();
    identity(facts, system, &mut found);
    amounts(facts, ceiling, &mut found);
    lists(facts, &mut found);
    network(facts, &mut found);
    devices(facts, system, &mut found);
    bus(facts, system, &mut found);
    lifecycle(facts, &mut found);
    found
}

fn add(found: &mut Vec<Broken>, key: impl Into<String>, message: impl Into<String>, help: impl Into<String>) {
    found.push(Broken { key: key.into(), message: message.into(), help: help.into() });
}

fn identity(facts: &Facts, system: bool, found: &mut Vec<Broken>) {
    if facts.id.is_system() != system {
        let (message, help) = if system {
            ("a system box outside os.gabion", "write an id below \"os.gabion\"")
        } else {
            ("ids below os.gabion are the system's own", "use a domain name of your own")
        };
        add(found, "app.id", message, help);
    }
    if facts.system.is_some() && !system {
        let help = "remove it: an app asks for what it needs over the bus, with [uses]";
        add(found, "system", "only boxes that are part of the image may have [system]", help);
    }
    if facts.system.as_ref().is_some_and(|grant| grant.capabilities & !capability::grantable() != 0) {
        add(found, "system.capabilities", "a capability that no box may have", "remove it");
    }
    // What a filter has of sockets is what its program needs of them: only ports and W^X would ask for more.
    let others =
        facts.profile != Profile::Strict || facts.jit || facts.sysv_shm || facts.ports().next().is_some();
    if facts.filter().is_some() && others {
        let help = "write profile = \"strict\", and nothing below [network]";
        add(found, "system.filter", "a filter of its own leaves no room for other grants", help);
    }
}

fn amounts(facts: &Facts, ceiling: &Board, found: &mut Vec<Broken>) {
    let bytes = [
        ("memory", facts.memory, ceiling.memory),
        ("storage", facts.storage, ceiling.storage),
        ("tmp", facts.tmp, facts.memory),
    ];
    for (key, asked, most) in bytes {
        if asked > most {
            let whose = if key == "tmp" {
                "the app's own `memory`, in which it is counted,"
            } else {
                "this board's ceiling"
            };
            add(
                found,
                format!("resources.{key}"),
                format!("{asked} is above {whose} of {most}"),
                format!("use at most \"{most}\""),
            );
        }
    }
    if facts.memory < MEMORY_MIN {
        add(
            found,
            "resources.memory",
            format!("{} is too little to start in", facts.memory),
            format!("use at least \"{MEMORY_MIN}\""),
        );
    }
    if !ceiling.allows_cpu(facts.cpu) {
        let most = ceiling.cpu_percent;
        add(
            found,
            "resources.cpu",
            format!("{} is above this board's ceiling of {most}%", facts.cpu),
            format!("use at most \"{most}%\""),
        );
    }
    let counts = [
        ("tasks", facts.tasks, 1, ceiling.tasks),
        ("open_files", facts.open_files, OPEN_FILES_MIN, ceiling.open_files),
    ];
    for (key, asked, least, most) in counts {
        if !(least..=most).contains(&asked) {
            add(
                found,
                format!("resources.{key}"),
                format!("{asked} is not between {least} and {most}"),
                format!("use {least} to {most}"),
            );
        }
    }
}

fn network(facts: &Facts, found: &mut Vec<Broken>) {
    for listen in facts.listen.iter().filter(|listen| SYSTEM_PORTS.contains(&listen.port().number())) {
        let message =
            format!("port {} is the device's own, for its addresses, names and time", listen.port());
        add(found, "network.listen", message, "let the app serve another port");
    }
    for (index, listen) in facts.listen.iter().enumerate() {
        if facts.listen[..index].iter().any(|other| other.port() == listen.port() && other != listen) {
            let message = format!("{} is named with localhost and without", listen.port());
            add(found, format!("network.listen[{index}]"), message, "remove one of the two");
        }
    }
    for (index, host) in facts.private.iter().enumerate() {
        let key = format!("network.private[{index}]");
        if !host.is_name() {
            let help = "remove it: an address in `connect` is taken as it is written";
            add(found, key, format!("{host} is no name that has to be resolved"), help);
        } else if !facts.connect.iter().any(|to| to.host() == host) {
            let help = "name it there with its port, or remove it here";
            add(found, key, format!("no line of `connect` names {host}"), help);
        }
    }
    for to in facts.connect.iter().filter(|to| to.host().is_local()) {
        if GIVEN_PORTS.contains(&to.port().number()) {
            let (first, last) = (GIVEN_PORTS.start(), GIVEN_PORTS.end());
            add(
                found,
                "network.connect",
                format!("{to} is a port that the kernel gives to any app that asks for one"),
                format!("let the other app listen, and this one connect, outside of {first} to {last}"),
            );
        }
    }
}

fn lists(facts: &Facts, found: &mut Vec<Broken>) {
    let lengths = [
        ("app.exec", facts.arguments.len(), ARGUMENTS_MAX),
        ("process.environment", facts.environment.len(), ENVIRONMENT_MAX),
        ("network.connect", facts.connect.len(), CONNECT_MAX),
        ("network.listen", facts.listen.len(), LISTEN_MAX),
        ("network.private", facts.private.len(), CONNECT_MAX),
        ("devices", facts.devices.len(), DEVICES_MAX),
        ("uses", facts.uses.len(), INTERFACES_MAX),
        ("provides", facts.provides.len(), INTERFACES_MAX),
    ];
    for (key, length, most) in lengths {
        if length > most {
            add(found, key, format!("{length} entries"), format!("use at most {most}"));
        }
    }
    repeated("network.connect", &facts.connect, found);
    repeated("network.listen", &facts.listen, found);
    repeated("network.private", &facts.private, found);
}

/// Reports every element that was there before: most likely one of the two was meant to be something else.
fn repeated<T: Ord + std::fmt::Display>(key: &str, list: &[T], found: &mut Vec<Broken>) {
    let mut seen = BTreeSet::new();
    for (index, element) in list.iter().enumerate() {
        if !seen.insert(element) {
            add(
                found,
                format!("{key}[{index}]"),
                format!("{element} is named twice"),
                "remove one of the two",
            );
        }
    }
}

fn devices(facts: &Facts, system: bool, found: &mut Vec<Broken>) {
    let mut seen = BTreeSet::new();
    for device in &facts.devices {
        let key = format!("devices.{}", device.class().key());
        if device.class().system_only() && !system {
            let (what, help) = match device.class() {
                DeviceClass::Tpm => ("the tpm", "remove it: use the interface \"os.gabion.Certificate\""),
                _ => {
                    ("a developer port", "remove it: the host reaches the bus by it, and apps are on the bus")
                }
            };
            add(found, key.as_str(), format!("no app may hold {what}"), help);
        }
        if !seen.insert(device.path()) {
            add(found, key, format!("{} is named twice", device.path()), "remove one of the two");
        }
    }
}

fn bus(facts: &Facts, system: bool, found: &mut Vec<Broken>) {
    for (interface, methods) in &facts.uses {
        let key = format!("uses.\"{interface}\"");
        if methods.is_empty() {
            add(
                found,
                key.as_str(),
                "grants no method",
                "name the methods, as [\"GetChain\"], or remove the line",
            );
        }
        if methods.len() > NAMES_MAX {
            add(
                found,
                key.as_str(),
                format!("{} methods", methods.len()),
                format!("use at most {NAMES_MAX}"),
            );
        }
        if bus::is_system_interface(interface.as_str()) {
            for (index, method) in methods.iter().enumerate() {
                if let Err(invalid) = bus::grantable(interface, method, system) {
                    add(found, format!("{key}[{index}]"), invalid.message, invalid.help);
                }
            }
        }
        repeated(&key, methods, found);
    }
    for (interface, apps) in &facts.provides {
        provided(&facts.id, interface, apps, system, found);
    }
}

fn provided(id: &AppId, interface: &InterfaceName, apps: &[AppId], system: bool, found: &mut Vec<Broken>) {
    let key = format!("provides.\"{interface}\"");
    let own = bus::is_system_interface(interface.as_str());
    if own && !system {
        let help = "use a domain name of your own";
        add(found, key.as_str(), "interfaces below os.gabion are the system's own", help);
    }
    // Whoever was installed first would otherwise take the calls that are meant for another maker's app.
    let domain = |name: &str| name.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    if !own && domain(interface.as_str()) != domain(id.as_str()) {
        let help = format!("use a name below \"{}\"", domain(id.as_str()).join("."));
        add(found, key.as_str(), "is in somebody else's domain", help);
    }
    if interface.as_str().starts_with("org.varlink.") {
        let help = "remove it: every server has org.varlink.service";
        add(found, key.as_str(), "interfaces below org.varlink are varlink's own", help);
    }
    // The system's own interfaces are for whoever the policy table lets name them.
    if apps.is_empty() && !(own && system) {
        let help = "name the apps that may call it, or remove the line";
        add(found, key.as_str(), "is provided to nobody", help);
    }
    if apps.len() > NAMES_MAX {
        add(found, key.as_str(), format!("{} apps", apps.len()), format!("use at most {NAMES_MAX}"));
    }
    repeated(&key, apps, found);
}

fn lifecycle(facts: &Facts, found: &mut Vec<Broken>) {
    if facts.stop_timeout > STOP_TIMEOUT_MAX {
        let help = format!("use at most \"{STOP_TIMEOUT_MAX}\"");
        add(
            found,
            "lifecycle.stop_timeout",
            format!("{} would hold up a shutdown", facts.stop_timeout),
            help,
        );
    }
    if facts.watchdog.is_some_and(|watchdog| watchdog.milliseconds() < WATCHDOG_MIN_MS) {
        let message = "a watchdog this short fires on ordinary delays";
        add(found, "lifecycle.watchdog", message, format!("use at least \"{WATCHDOG_MIN_MS}ms\""));
    }
}
