//! "May this app do that, and why not?"
//!
//! Answers come from the same facts and the same tables that [`crate::compile`] uses. Each names the line of the
//! manifest that grants the act, or the line whose absence denies it. What cannot be known here is said: whether a
//! file exists, what a name resolves to, what another box provides.

use crate::facts::Facts;
use crate::manifest::Manifest;
use crate::net::{Host, HostPort, Port, Proto};
use crate::place::AbsolutePath;
use crate::problem::quote;
use crate::seccomp::{self, Answer};
use crate::{InterfaceName, MethodName};

/// Something an app might do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Open a file.
    Open {
        /// Where, in the box.
        path: AbsolutePath,
        /// To change it.
        write: bool,
        /// To run it.
        execute: bool,
    },
    /// Reach a host.
    Connect {
        /// Which host.
        host: Host,
        /// Which port there.
        port: Port,
    },
    /// Be reached.
    Listen {
        /// Where.
        port: Port,
    },
    /// Make a syscall, by its kernel name (`ptrace`) or number (`101`).
    Syscall(String),
    /// Call a method on the bus.
    Bus {
        /// Of which interface.
        interface: InterfaceName,
        /// Which method.
        method: MethodName,
    },
}

/// The answer to an [`Act`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the box lets it through.
    pub allowed: bool,
    /// Which line grants it, or which line's absence denies it, in one sentence without full stop.
    pub because: String,
}

/// Whether an app with this manifest may do something, and by which line.
pub fn explain(manifest: &Manifest, act: &Act) -> Verdict {
    match act {
        Act::Open { path, write, execute } => open(manifest, path.as_str(), *write, *execute),
        Act::Connect { host, port } => connect(manifest, host, *port),
        Act::Listen { port } => listen(manifest, *port),
        Act::Syscall(call) => syscall(manifest, call),
        Act::Bus { interface, method } => bus(manifest, interface, method),
    }
}

fn yes(because: impl Into<String>) -> Verdict {
    Verdict { allowed: true, because: because.into() }
}

fn no(because: impl Into<String>) -> Verdict {
    Verdict { allowed: false, because: because.into() }
}

impl Manifest {
    /// A line as its author can find it: `[network] listen = "8080/tcp" (line 12)`.
    fn line(&self, key: &str, value: impl std::fmt::Display) -> String {
        let (table, name) = key.split_once('.').unwrap_or(("", key));
        let name = name.split('[').next().unwrap_or(name);
        let place = self.lines.get(key).or_else(|| self.lines.get(key.split('[').next().unwrap_or(key)));
        let place = place.map_or_else(|| "by default".to_owned(), |line| format!("line {line}"));
        format!("[{table}] {name} = {value} ({place})")
    }
}

/// Devices that every box has.
const COMMON_DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

fn open(manifest: &Manifest, path: &str, write: bool, execute: bool) -> Verdict {
    let facts = &manifest.facts;
    let top = path.split('/').nth(1).unwrap_or("");
    if execute && matches!(top, "data" | "tmp" | "dev" | "proc" | "run") {
        return no(format!(
            "nothing below /{top} can be run in any box: only the app's own read-only files are programs"
        ));
    }
    match top {
        "data" if facts.storage.bytes() == 0 => {
            no("no line `[resources] storage` gives the app storage at /data")
        }
        "data" => yes(manifest.line("resources.storage", quoted(facts.storage))),
        "tmp" if facts.tmp.bytes() == 0 => no(manifest.line("resources.tmp", quoted(facts.tmp))),
        "tmp" => yes(manifest.line("resources.tmp", quoted(facts.tmp))),
        "dev" => device(manifest, path),
        "proc" if write => no("no box writes to /proc: it is mounted read-only"),
        "proc" => yes("every box reads /proc, which shows its own processes only"),
        "run" => run_directory(manifest, path),
        _ if write => no("the app's own files are read-only: write below /data or /tmp"),
        _ => yes("every box reads and runs the app's own files"),
    }
}

fn device(manifest: &Manifest, path: &str) -> Verdict {
    if COMMON_DEVICES.contains(&path) {
        return yes(format!("every box has {path}"));
    }
    match manifest.facts.devices.iter().find(|device| device.path() == path) {
        Some(device) => {
            yes(manifest.line(&format!("devices.{}", device.class().key()), format!("[\"{path}\"]")))
        }
        None => no(format!("no line below [devices] names {}", quote(path))),
    }
}

fn run_directory(manifest: &Manifest, path: &str) -> Verdict {
    let interface = path.strip_prefix("/run/bus/").unwrap_or("");
    match manifest.facts.uses.iter().find(|(name, _)| name.as_str() == interface) {
        Some((name, methods)) => yes(uses_line(manifest, name, methods)),
        None if interface.is_empty() => no("/run holds only the sockets that the manifest grants"),
        None => no(format!("no line below [uses] names {}", quote(interface))),
    }
}

fn connect(manifest: &Manifest, host: &Host, port: Port) -> Verdict {
    let wanted = format!("{host}:{port}");
    let same =
        |to: &HostPort| to.port() == port && (to.host() == host || to.host().is_local() && host.is_local());
    match manifest.facts.connect.iter().position(same) {
        Some(index) => {
            yes(manifest.line(&format!("network.connect[{index}]"), element(&manifest.facts.connect, index)))
        }
        None => no(format!(
            "no line `[network] connect` names \"{wanted}\"{}",
            nearby(&manifest.facts, port.proto())
        )),
    }
}

fn listen(manifest: &Manifest, port: Port) -> Verdict {
    match manifest.facts.listen.iter().position(|known| known.port() == port) {
        Some(index) => {
            yes(manifest.line(&format!("network.listen[{index}]"), element(&manifest.facts.listen, index)))
        }
        None => no(format!(
            "no line `[network] listen` names \"{port}\"{}",
            nearby(&manifest.facts, port.proto())
        )),
    }
}

/// What the box lacks besides the line, if it has no network of this kind at all.
fn nearby(facts: &Facts, proto: Proto) -> String {
    let any = facts.ports().next().is_some();
    let same = facts.ports().any(|port| port.proto() == proto);
    match (any, same) {
        (false, _) => "; the box has no network".to_owned(),
        (true, false) => format!("; the box has no {proto} socket"),
        _ => String::new(),
    }
}

fn element<T: std::fmt::Display>(list: &[T], index: usize) -> String {
    list.get(index).map(quoted).unwrap_or_default()
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

fn syscall(manifest: &Manifest, call: &str) -> Verdict {
    let facts = &manifest.facts;
    let number = call.parse().ok().or_else(|| seccomp::number(call.strip_prefix("SYS_").unwrap_or(call)));
    let profile = format!(
        "{}, version {},",
        manifest.line("process.profile", quoted(facts.profile)),
        facts.profile.version()
    );
    let Some(number) = number else {
        return no(format!("no profile allows {}: it fails with EPERM", quote(call)));
    };
    let name = seccomp::name(number).map_or_else(|| number.to_string(), ToOwned::to_owned);
    match seccomp::answer(facts, number) {
        Answer::Allowed
            if facts.jit
                && matches!(name.as_str(), "mmap" | "mprotect" | "pkey_mprotect" | "memfd_create") =>
        {
            yes(format!("{}, which lifts W^X", manifest.line("process.jit", true)))
        }
        Answer::Allowed | Answer::AllowedIf(_) if facts.sysv_shm && name.starts_with("shm") => {
            yes(manifest.line("process.sysv_shm", true))
        }
        Answer::Allowed => yes(format!("{profile} and the lines below [network] and [uses] allow `{name}`")),
        Answer::AllowedIf(what) => {
            yes(format!("{profile} and the lines below [network] and [uses] allow `{name}` {what}"))
        }
        Answer::Killed => no(format!("`{name}` kills: no line can grant it")),
        Answer::Absent => match remedy(facts, number).as_str() {
            "" => no(format!("`{name}` seems not to exist (ENOSYS) in any box: no line can grant it")),
            remedy => no(format!("`{name}` seems not to exist (ENOSYS){remedy}")),
        },
        Answer::Refused => {
            no(format!("{profile} does not allow `{name}`: it fails with EPERM{}", remedy(facts, number)))
        }
    }
}

/// Which line would allow a refused syscall, if one would.
fn remedy(facts: &Facts, number: i64) -> String {
    use crate::Profile;
    let wider = Profile::ALL.iter().filter(|profile| **profile > facts.profile).find(|profile| {
        let facts = Facts { profile: **profile, ..facts.clone() };
        matches!(seccomp::answer(&facts, number), Answer::Allowed | Answer::AllowedIf(_))
    });
    if let Some(wider) = wider {
        return format!("; `[process] profile = \"{wider}\"` would");
    }
    let jit = Facts { jit: true, ..facts.clone() };
    if seccomp::answer(&jit, number) == Answer::Allowed {
        return "; `[process] jit = true` would".to_owned();
    }
    let shm = Facts { sysv_shm: true, ..facts.clone() };
    if seccomp::answer(&shm, number) != Answer::Refused {
        return "; `[process] sysv_shm = true` would".to_owned();
    }
    String::new()
}

fn bus(manifest: &Manifest, interface: &InterfaceName, method: &MethodName) -> Verdict {
    match manifest.facts.uses.get(interface) {
        Some(methods) if methods.contains(method) => yes(uses_line(manifest, interface, methods)),
        Some(methods) => {
            no(format!("{} does not name \"{method}\"", uses_line(manifest, interface, methods)))
        }
        None => no(format!("no line below [uses] names \"{interface}\"")),
    }
}

fn uses_line(manifest: &Manifest, interface: &InterfaceName, methods: &[MethodName]) -> String {
    let methods: Vec<String> = methods.iter().map(quoted).collect();
    manifest.line(&format!("uses.\"{interface}\""), format!("[{}]", methods.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Board, check};

    const TEXT: &str = r#"
[app]
id = "com.example.thermostat"
version = "1.4.0"
exec = ["/bin/thermostat"]
[resources]
storage = "1MiB"
[network]
connect = ["mqtt.example.com:8883/tcp",
           "localhost:1883/tcp"]
listen = ["8080/tcp"]
[devices]
serial = ["/dev/ttyS1"]
[uses]
"os.gabion.Certificate" = ["GetChain"]
"#;

    fn verdict(act: Act) -> Verdict {
        explain(&check(TEXT, &Board::default()).unwrap(), &act)
    }

    fn open(path: &str, write: bool, execute: bool) -> Verdict {
        verdict(Act::Open { path: path.parse().unwrap(), write, execute })
    }

    #[test]
    fn explain_open_quotes_the_granting_line() {
        let data = open("/data/log", true, false);
        assert_eq!((data.allowed, data.because.as_str()), (true, "[resources] storage = \"1MiB\" (line 7)"));
        assert!(open("/tmp/x", true, false).because.contains("by default"));
        assert!(
            open("/dev/ttyS1", true, false).because.contains("[devices] serial = [\"/dev/ttyS1\"] (line 13)")
        );
    }

    #[test]
    fn explain_open_denies_running_what_can_be_written() {
        for path in ["/data/x", "/tmp/x", "/dev/x", "/run/x", "/proc/self/exe"] {
            assert!(!open(path, false, true).allowed, "{path}");
        }
        assert!(open("/bin/thermostat", false, true).allowed);
        assert!(!open("/bin/thermostat", true, false).allowed);
        assert!(open("/dev/mem", false, false).because.contains("no line below [devices]"));
    }

    #[test]
    fn explain_words_of_who_asks_are_shown_escaped() {
        let asked = [
            verdict(Act::Syscall("x\t\u{1b}[2J\u{202e}".into())),
            open("/dev/\u{202e}x", false, false),
            open("/run/bus/\u{202e}x", false, false),
        ];
        for answer in asked {
            let plain = |c: char| !c.is_control() && c != '\u{202e}';
            assert!(!answer.allowed && answer.because.chars().all(plain), "{}", answer.because);
        }
    }

    #[test]
    fn explain_connect_names_element_or_absence() {
        let to = |host: &str, port: &str| {
            verdict(Act::Connect { host: host.parse().unwrap(), port: port.parse().unwrap() })
        };
        assert_eq!(
            to("localhost", "1883/tcp").because,
            "[network] connect = \"localhost:1883/tcp\" (line 10)"
        );
        assert!(to("127.0.0.1", "1883/tcp").allowed);
        assert!(!to("mqtt.example.com", "8884/tcp").allowed);
        assert!(to("mqtt.example.com", "8883/udp").because.contains("no udp socket"));
        assert!(verdict(Act::Listen { port: "8080/tcp".parse().unwrap() }).allowed);
        assert!(!verdict(Act::Listen { port: "8081/tcp".parse().unwrap() }).allowed);
    }

    #[test]
    fn explain_syscall_names_profile_and_remedy() {
        let call = |name: &str| verdict(Act::Syscall(name.to_owned()));
        assert!(call("read").allowed);
        assert!(call("clone").because.contains("without new namespaces"));
        assert!(call("ptrace").because.contains("kills"));
        assert!(call("clone3").because.contains("ENOSYS"));
        assert!(call("sched_setaffinity").because.contains("network-server"));
        assert!(call("memfd_create").because.contains("jit = true"));
        assert!(call("shmget").because.contains("sysv_shm = true"));
        assert!(!call("no_such_call").allowed);
        assert_eq!(call(&libc::SYS_ptrace.to_string()), call("ptrace"));
    }

    #[test]
    fn explain_bus_by_method() {
        let call = |method: &str| {
            verdict(Act::Bus {
                interface: "os.gabion.Certificate".parse().unwrap(),
                method: method.parse().unwrap(),
            })
        };
        assert!(call("GetChain").allowed);
        assert!(call("Sign").because.contains("does not name \"Sign\""));
    }
}
