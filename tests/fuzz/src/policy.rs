//! Manifests, which an app's author writes, and plans, which a worker that was taken over may make up.

use std::fmt::Display;

use policy::{Act, Board, Manifest, Network, PLAN_MAX, PROBLEMS_MAX, Plan, Problem};

use crate::is_printable;

/// Text of a manifest: problems that can be shown, or a plan that travels and answers as the manifest does.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let board = Board::default();
    match policy::check(text, &board) {
        Ok(manifest) => {
            let plan = policy::compile(&manifest);
            within(&plan, &board);
            let encoded = plan.encode();
            assert_eq!(Plan::decode(&encoded, &board).as_ref(), Ok(&plan));
            let kept = policy::keep(text);
            assert_eq!(kept.as_deref().and_then(|kept| policy::kept_plan(kept, bytes)), Some(&encoded[..]));
            explained(&manifest, &plan, text);
        }
        Err(problems) => {
            shown(&problems);
            assert_eq!(policy::keep(text), None);
        }
    }
    match policy::check_system(text, &board) {
        Ok(manifest) => {
            let plan = policy::compile_system(&manifest);
            assert!(plan.id.is_system());
            let encoded = plan.encode();
            assert_eq!(Plan::decode_system(&encoded, &board).as_ref(), Ok(&plan));
            assert!(Plan::decode(&encoded, &board).is_err(), "a box of the system by way of an app");
        }
        Err(problems) => shown(&problems),
    }
}

/// An encoded plan: what is taken is one that a manifest could have had, below the board's ceiling, in its one encoding.
pub fn plan(bytes: &[u8]) {
    let board = Board::default();
    match Plan::decode(bytes, &board) {
        Ok(plan) => {
            assert_eq!(plan.encode(), bytes);
            within(&plan, &board);
        }
        Err(error) => assert_line(&error),
    }
    if let Ok(plan) = Plan::decode_system(bytes, &board) {
        assert_eq!(plan.encode(), bytes);
        assert!(plan.id.is_system());
    }
}

/// Text that [`kept`] takes its first bytes from, which name the policy.
const TEXT: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";
/// Magic and the policy's number.
const KEPT_HEAD: usize = 8 + 16;

/// A plan kept beside a manifest: the fuzzer's bytes as a whole, and behind a good head; the manifest is what it says it is,
/// and one byte longer.
pub fn kept(bytes: &[u8]) {
    assert_eq!(policy::kept_plan(bytes, TEXT.as_bytes()), None, "without the policy's number");
    let Some(mut made) = policy::keep(TEXT) else { panic!("the text is good") };
    made.truncate(KEPT_HEAD);
    made.extend(bytes);
    let said = bytes
        .split_first_chunk()
        .and_then(|(length, rest)| rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?));
    let text = said.map_or(TEXT.as_bytes(), |(text, _)| text);
    let found = policy::kept_plan(&made, text);
    assert_eq!(found, said.map(|(_, plan)| plan));
    assert_eq!(policy::kept_plan(&made, &[text, b"#"].concat()), None);
    if let Some(found) = found {
        plan(found);
    }
}

fn shown(problems: &[Problem]) {
    assert!((1..=PROBLEMS_MAX).contains(&problems.len()));
    problems.iter().for_each(assert_line);
}

fn assert_line(message: &impl Display) {
    let text = message.to_string();
    assert!(text.lines().all(is_printable), "{text:?}");
    assert!(text.len() < 4096, "{text:?}");
}

/// What holds of every plan of an app.
fn within(plan: &Plan, board: &Board) {
    assert!(plan.system.is_none() && !plan.id.is_system());
    assert!(
        plan.limits.memory_bytes <= board.memory.bytes() && plan.limits.tmp_bytes <= board.memory.bytes()
    );
    assert!(plan.limits.storage_bytes <= board.storage.bytes());
    assert!(plan.limits.cpu_percent <= board.cpu_percent && plan.limits.cpu_percent > 0);
    assert!(plan.limits.tasks <= board.tasks && plan.limits.tasks > 0);
    assert!(plan.limits.open_files <= board.open_files && plan.limits.open_files > 0);
    assert!(plan.argv.first().is_some_and(|program| program.starts_with('/')));
    assert!(plan.working_directory.starts_with('/'));
    let environment = plan.env.iter().flat_map(|(name, value)| [name, value]);
    assert!(plan.argv.iter().chain(environment).all(|text| !text.contains('\0')));
    assert!(plan.env.iter().all(|(name, _)| !name.contains('=') && name != "NOTIFY_SOCKET"));
    assert!(plan.devices.iter().all(|path| path.starts_with("/dev/") && !path.contains("..")));
    assert!((1..=4).contains(&plan.seccomp.len()));
    assert!(
        plan.seccomp.iter().all(|program| program.len() % 8 == 0 && (8..=4096 * 8).contains(&program.len()))
    );
    assert!(plan.encode().len() <= PLAN_MAX);
}

/// What a manifest grants is said to be granted; what else is asked, with words of its author's, has some answer.
fn explained(manifest: &Manifest, plan: &Plan, text: &str) {
    let ask = |act: Act| {
        let verdict = policy::explain(manifest, &act);
        assert!(is_printable(&verdict.because), "{:?}", verdict.because);
        verdict.allowed
    };
    for (interface, methods) in &plan.uses {
        for method in methods {
            if let (Ok(interface), Ok(method)) = (interface.parse(), method.parse()) {
                assert!(ask(Act::Bus { interface, method }));
            }
        }
    }
    if let Network::Device { listen, connect, .. } = &plan.network {
        assert!(listen.iter().all(|listen| ask(Act::Listen { port: listen.port() })));
        for to in connect {
            assert!(ask(Act::Connect { host: to.host().clone(), port: to.port() }));
        }
    }
    for word in text.split(['"', '\n']).take(40) {
        ask(Act::Syscall(word.to_owned()));
        if let Ok(path) = word.parse() {
            ask(Act::Open { path, write: word.len() % 2 == 0, execute: word.len() % 3 == 0 });
        }
    }
    assert!(!ask(Act::Syscall("ptrace".to_owned())) && !ask(Act::Syscall("io_uring_setup".to_owned())));
    assert!(ask(Act::Syscall("read".to_owned())));
}
