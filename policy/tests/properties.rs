//! Properties of the whole road from text to plan, over generated manifests, texts and bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use policy::{Act, Board, Bytes, Difference, Direction, FsPath, Plan, check, compile, diff, explain};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A manifest as it may be written: tables of lines.
#[derive(Clone, Debug, Default)]
struct Sketch(BTreeMap<&'static str, BTreeMap<String, String>>);

impl Sketch {
    fn set(&mut self, table: &'static str, key: &str, value: impl Into<String>) {
        self.0.entry(table).or_default().insert(key.to_owned(), value.into());
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (table, lines) in &self.0 {
            text += &format!("[{table}]\n");
            for (key, value) in lines {
                text += &format!("{key} = {value}\n");
            }
        }
        text
    }
}

/// One thing an author may ask for.
#[derive(Clone, Debug)]
enum Grant {
    Profile(u8),
    Jit,
    SysvShm,
    Listen(u16, bool),
    Connect(u8, u16, bool),
    Serial(u8),
    Uses(u8, u8),
    Provides(u8),
    Memory(u64),
    Storage(u64),
    Cpu(u64),
    Tasks(u64),
    OpenFiles(u64),
    Watchdog(u64),
    Notify,
}

fn grant() -> impl Strategy<Value = Grant> {
    prop_oneof![
        (0..3u8).prop_map(Grant::Profile),
        Just(Grant::Jit),
        Just(Grant::SysvShm),
        (1u16.., any::<bool>()).prop_map(|(port, tcp)| Grant::Listen(port, tcp)),
        (0..4u8, 1u16.., any::<bool>()).prop_map(|(host, port, tcp)| Grant::Connect(host, port, tcp)),
        (0..4u8).prop_map(Grant::Serial),
        (0..3u8, 0..4u8).prop_map(|(interface, method)| Grant::Uses(interface, method)),
        (0..3u8).prop_map(Grant::Provides),
        (0..200u64).prop_map(Grant::Memory),
        (0..600u64).prop_map(Grant::Storage),
        (0..400u64).prop_map(Grant::Cpu),
        (0..2000u64).prop_map(Grant::Tasks),
        (0..9000u64).prop_map(Grant::OpenFiles),
        (0..200u64).prop_map(Grant::Watchdog),
        Just(Grant::Notify),
    ]
}

const HOSTS: [&str; 4] = ["localhost", "127.0.0.1", "mqtt.example.com", "[2001:db8::7]"];
const PROFILES: [&str; 3] = ["strict", "default", "network-server"];
const METHODS: [&str; 4] = ["GetChain", "Sign", "Defer", "Resume"];

fn sketch(grants: &[Grant]) -> Sketch {
    let mut sketch = Sketch::default();
    sketch.set("app", "id", "\"com.example.app\"");
    sketch.set("app", "version", "\"1.0.0\"");
    sketch.set("app", "exec", "[\"/bin/app\"]");
    let mut lists: BTreeMap<(&'static str, String), Vec<String>> = BTreeMap::new();
    let proto = |tcp: bool| if tcp { "tcp" } else { "udp" };
    for grant in grants {
        let mut push = |table, key: String, value: String| {
            let list = lists.entry((table, key)).or_default();
            if !list.contains(&value) {
                list.push(value);
            }
        };
        match grant {
            Grant::Profile(n) => {
                sketch.set("process", "profile", format!("\"{}\"", PROFILES[usize::from(*n)]))
            }
            Grant::Jit => sketch.set("process", "jit", "true"),
            Grant::SysvShm => sketch.set("process", "sysv_shm", "true"),
            Grant::Listen(port, tcp) => {
                push("network", "listen".into(), format!("\"{port}/{}\"", proto(*tcp)))
            }
            Grant::Connect(host, port, tcp) => {
                push(
                    "network",
                    "connect".into(),
                    format!("\"{}:{port}/{}\"", HOSTS[usize::from(*host)], proto(*tcp)),
                );
            }
            Grant::Serial(n) => push("devices", "serial".into(), format!("\"/dev/ttyS{n}\"")),
            Grant::Uses(interface, method) => {
                push(
                    "uses",
                    format!("\"com.example.U{interface}\""),
                    format!("\"{}\"", METHODS[usize::from(*method)]),
                );
            }
            Grant::Provides(n) => {
                push("provides", format!("\"com.example.I{n}\""), "\"com.example.other\"".into())
            }
            Grant::Memory(n) => sketch.set("resources", "memory", format!("\"{n}MiB\"")),
            Grant::Storage(n) => sketch.set("resources", "storage", format!("\"{n}MiB\"")),
            Grant::Cpu(n) => sketch.set("resources", "cpu", format!("\"{n}%\"")),
            Grant::Tasks(n) => sketch.set("resources", "tasks", n.to_string()),
            Grant::OpenFiles(n) => sketch.set("resources", "open_files", n.to_string()),
            Grant::Watchdog(n) => sketch.set("lifecycle", "watchdog", format!("\"{n}s\"")),
            Grant::Notify => sketch.set("lifecycle", "notify", "true"),
        }
    }
    for ((table, key), list) in lists {
        sketch.set(table, &key, format!("[{}]", list.join(", ")));
    }
    sketch
}

/// Everything worth asking about, for generated manifests: what any grant can grant, and the neighbours of that.
fn acts(grants: &[Grant]) -> Vec<Act> {
    let mut acts: Vec<Act> = (0..470).map(|number: u32| Act::Syscall(number.to_string())).collect();
    for path in [
        "/bin/app",
        "/data/x",
        "/tmp/x",
        "/dev/null",
        "/dev/ttyS0",
        "/dev/ttyS3",
        "/proc/self/mem",
        "/run/bus/com.example.U1",
    ] {
        for (write, execute) in [(false, false), (true, false), (false, true)] {
            acts.push(Act::Open { path: path.parse().unwrap(), write, execute });
        }
    }
    for interface in 0..3 {
        let interface = format!("com.example.U{interface}");
        acts.extend(METHODS.map(|method| Act::Bus {
            interface: interface.parse().unwrap(),
            method: method.parse().unwrap(),
        }));
    }
    for grant in grants {
        if let Grant::Listen(port, _) | Grant::Connect(_, port, _) = grant {
            for proto in ["tcp", "udp"] {
                let port: policy::Port = format!("{port}/{proto}").parse().unwrap();
                acts.push(Act::Listen { port });
                acts.extend(HOSTS.map(|host| Act::Connect { host: host.parse().unwrap(), port }));
            }
        }
    }
    acts
}

/// Whether a grant can only widen. A second `profile` or `memory` line replaces the first, so a narrower one narrows.
fn only_widens(grant: &Grant, before: &[Grant]) -> bool {
    match grant {
        Grant::Profile(new) => {
            let old = before
                .iter()
                .rev()
                .find_map(|grant| if let Grant::Profile(n) = grant { Some(*n) } else { None });
            *new >= old.unwrap_or(1)
        }
        Grant::Memory(_) | Grant::Storage(_) | Grant::Cpu(_) | Grant::Tasks(_) | Grant::OpenFiles(_) => false,
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn adding_a_permission_never_takes_one_away(grants in prop::collection::vec(grant(), 0..12), more in grant()) {
        prop_assume!(only_widens(&more, &grants));
        let mut extended = grants.clone();
        extended.push(more);
        let board = Board::default();
        let (Ok(before), Ok(after)) = (check(&sketch(&grants).text(), &board), check(&sketch(&extended).text(), &board)) else {
            return Ok(());
        };
        for act in acts(&extended) {
            let (had, has) = (explain(&before, &act), explain(&after, &act));
            prop_assert!(!had.allowed || has.allowed, "{act:?}: {} -> {}", had.because, has.because);
        }
        let (before, after) = (compile(&before).landlock, compile(&after).landlock);
        prop_assert!(before.fs.iter().all(|rule| after.fs.contains(rule)));
        prop_assert!(before.bind_tcp.iter().all(|port| after.bind_tcp.contains(port)));
        prop_assert!(before.connect_tcp.iter().all(|port| after.connect_tcp.contains(port)));
    }

    #[test]
    fn adding_a_permission_is_reported_as_a_gain_and_never_as_a_loss(
        grants in prop::collection::vec(grant(), 0..12),
        more in grant(),
    ) {
        prop_assume!(only_widens(&more, &grants));
        let mut extended = grants.clone();
        extended.push(more.clone());
        let board = Board::default();
        let (Ok(before), Ok(after)) = (check(&sketch(&grants).text(), &board), check(&sketch(&extended).text(), &board)) else {
            return Ok(());
        };
        let count = |found: &[Difference], direction| found.iter().filter(|d| d.direction == direction).count();
        let (there, back) = (diff(&before, &after), diff(&after, &before));
        if before == after {
            prop_assert!(there.is_empty() && back.is_empty());
        } else if !matches!(more, Grant::Watchdog(_) | Grant::Notify) {
            prop_assert!(count(&there, Direction::Gain) > 0, "{more:?}: {there:?}");
            prop_assert_eq!(count(&there, Direction::Loss), 0, "{:?}: {:?}", more, there);
        }
        prop_assert!(!there.is_empty() || before == after);
        prop_assert_eq!(count(&there, Direction::Gain), count(&back, Direction::Loss));
        prop_assert_eq!(count(&there, Direction::Loss), count(&back, Direction::Gain));
    }

    #[test]
    fn what_an_app_newly_may_is_never_left_out_of_the_difference(
        old in prop::collection::vec(grant(), 0..8),
        (kept, added) in (0..8usize, prop::collection::vec(grant(), 0..2)),
    ) {
        let new: Vec<Grant> = old.iter().take(kept).chain(&added).cloned().collect();
        let board = Board::default();
        let (Ok(before), Ok(after)) = (check(&sketch(&old).text(), &board), check(&sketch(&new).text(), &board)) else {
            return Ok(());
        };
        if diff(&before, &after).iter().any(|d| d.direction == Direction::Gain) {
            return Ok(());
        }
        // One program gives one answer, and asking about each syscall takes long.
        let same = compile(&before).seccomp == compile(&after).seccomp;
        for act in acts(&new).iter().filter(|act| !same || !matches!(act, Act::Syscall(_))) {
            let (had, has) = (explain(&before, act), explain(&after, act));
            prop_assert!(had.allowed || !has.allowed, "{act:?}: {} -> {}", had.because, has.because);
        }
    }

    #[test]
    fn no_manifest_exceeds_the_ceiling(
        grants in prop::collection::vec(grant(), 0..12),
        (memory, storage, cpu_percent, tasks, open_files) in (1..128u64, 0..512u64, 1..400u32, 1..1024u32, 16..8192u32),
    ) {
        let ceiling = Board { memory: Bytes::mebibytes(memory), storage: Bytes::mebibytes(storage), cpu_percent, tasks, open_files };
        if let Ok(manifest) = check(&sketch(&grants).text(), &ceiling) {
            let plan = compile(&manifest);
            assert_under(&plan, &ceiling);
            prop_assert_eq!(Plan::decode(&plan.encode(), &ceiling), Ok(plan));
        }
    }

    #[test]
    fn compile_is_deterministic_and_decode_undoes_encode(grants in prop::collection::vec(grant(), 0..12)) {
        let board = Board::default();
        let text = sketch(&grants).text();
        if let (Ok(one), Ok(two)) = (check(&text, &board), check(&text, &board)) {
            let (one, two) = (compile(&one), compile(&two));
            prop_assert_eq!(one.encode(), two.encode());
            prop_assert_eq!(one.seccomp_blob(), two.seccomp_blob());
            prop_assert_eq!(Plan::decode(&one.encode(), &board), Ok(two));
        }
    }

    #[test]
    fn no_app_gets_an_executable_place_it_can_write(grants in prop::collection::vec(grant(), 0..12)) {
        if let Ok(manifest) = check(&sketch(&grants).text(), &Board::default()) {
            let plan = compile(&manifest);
            prop_assert!(plan.system.is_none());
            for rule in &plan.landlock.fs {
                let executable = rule.access & policy::landlock::FS_EXECUTE != 0;
                prop_assert_eq!(executable, rule.path == FsPath::AppRoot);
                prop_assert!(!executable || rule.access & policy::landlock::FS_WRITE_FILE == 0);
            }
        }
    }

    #[test]
    fn decode_random_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Plan::decode(&bytes, &Board::default());
        let headed = [b"GabPlan\x01".as_slice(), &bytes].concat();
        let _ = Plan::decode(&headed, &Board::default());
        let _ = Plan::decode_system(&headed, &Board::default());
    }

    #[test]
    fn decode_mutated_plan_is_refused_or_a_plan_of_its_own(
        grants in prop::collection::vec(grant(), 0..12),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let board = Board::default();
        let Ok(manifest) = check(&sketch(&grants).text(), &board) else { return Ok(()) };
        let mut bytes = compile(&manifest).encode();
        prop_assert!(Plan::decode(&bytes[..cut.index(bytes.len())], &board).is_err());
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(plan) = Plan::decode(&bytes, &board) {
            assert_under(&plan, &board);
            prop_assert!(plan.system.is_none());
            prop_assert_eq!(plan.encode(), bytes);
        }
    }

    #[test]
    fn check_random_text_never_panics(text in any::<String>()) {
        let _ = check(&text, &Board::default());
    }

    #[test]
    fn check_mutated_manifest_never_panics(
        grants in prop::collection::vec(grant(), 0..12),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]\"=.,#{}\n a-z0-9\\\\é\u{0}\u{202e}-]{0,3}"), 1..6),
    ) {
        let mut text: Vec<char> = sketch(&grants).text().chars().collect();
        for (at, insert) in mutations {
            let at = at.index(text.len());
            text.splice(at..=at, insert.chars());
            if text.is_empty() {
                return Ok(());
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = check(&text, &Board::default()) {
            prop_assert!(!problems.is_empty() && problems.len() <= policy::PROBLEMS_MAX);
            for problem in problems {
                prop_assert!(problem.line >= 1 && problem.column >= 1);
                let shown = problem.to_string();
                prop_assert!(shown.lines().count() <= 2, "{shown}");
                prop_assert!(!shown.contains(['\u{0}', '\u{1b}', '\u{202e}']), "{shown:?}");
            }
        }
    }
}

fn assert_under(plan: &Plan, ceiling: &Board) {
    assert!(plan.limits.memory_bytes <= ceiling.memory.bytes());
    assert!(plan.limits.tmp_bytes <= plan.limits.memory_bytes);
    assert!(plan.limits.storage_bytes <= ceiling.storage.bytes());
    assert!(plan.limits.cpu_percent <= ceiling.cpu_percent);
    assert!(plan.limits.tasks <= ceiling.tasks);
    assert!(plan.limits.open_files <= ceiling.open_files);
}
