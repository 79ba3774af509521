//! Manifests by example: the design's own, and one fault at a time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use policy::{
    Board, DecodeError, Network, Plan, Problem, SystemFilter, check, check_system, compile, compile_system,
};

const DESIGN: &str = r#"[app]
id = "com.example.thermostat"
version = "1.4.0"
exec = ["/bin/thermostat", "--poll", "5s"]
[resources]
memory = "16MiB"
cpu = "20%"
tasks = 16
storage = "1MiB"
[process]
profile = "default"
jit = false
[network]
connect = ["mqtt.example.com:8883/tcp"]
listen = ["8080/tcp"]
[devices]
serial = ["/dev/ttyS1"]
[uses]
"os.gabion.Certificate" = ["GetChain", "Sign"]
"os.gabion.Update" = ["Defer", "Resume"]
[provides]
"com.example.Temperature" = ["com.example.display"]
[lifecycle]
restart = "always"
watchdog = "30s"
stop_timeout = "5s"
"#;

const SMALLEST: &str = "[app]\nid = \"com.example.app\"\nversion = \"1.0.0\"\nexec = [\"/bin/app\"]\n";
const SYSTEM: &str = "[app]\nid = \"os.gabion.agent\"\nversion = \"1.0.0\"\nexec = [\"/bin/agent\"]\n\
                      [system]\ncapabilities = [\"CAP_KILL\"]\nhost_pids = true\n";

fn problems(text: &str) -> Vec<Problem> {
    check(text, &Board::default()).unwrap_err()
}

/// The one problem of the smallest manifest with more lines.
fn problem(more: &str) -> Problem {
    let problems = problems(&format!("{SMALLEST}{more}"));
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

#[test]
fn check_manifest_of_the_design_is_accepted() {
    let plan = compile(&check(DESIGN, &Board::default()).unwrap());
    assert_eq!(plan.argv, ["/bin/thermostat", "--poll", "5s"]);
    assert_eq!(plan.limits.memory_bytes, 16 << 20);
    assert_eq!(plan.lifecycle.watchdog_ms, Some(30_000));
    assert_eq!(plan.devices, ["/dev/ttyS1"]);
    assert!(matches!(plan.network, Network::Device { .. }));
    assert_eq!((plan.landlock.bind_tcp, plan.landlock.connect_tcp), (vec![8080], vec![53, 8883]));
    assert_eq!(
        plan.provides,
        [("com.example.Temperature".to_owned(), vec!["com.example.display".to_owned()])]
    );
}

#[test]
fn check_smallest_manifest_gets_the_defaults() {
    let plan = compile(&check(SMALLEST, &Board::default()).unwrap());
    assert_eq!((plan.limits.memory_bytes, plan.limits.cpu_percent, plan.limits.tasks), (16 << 20, 20, 16));
    assert_eq!((plan.limits.storage_bytes, plan.limits.tmp_bytes, plan.limits.open_files), (0, 1 << 20, 256));
    assert_eq!((plan.network, plan.jit, plan.system), (Network::None, false, None));
    assert_eq!(plan.working_directory, "/");
    let names: Vec<&str> = plan.env.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["HOME", "PATH", "TMPDIR"]);
}

#[test]
fn check_local_hosts_alone_need_no_resolver() {
    let text = format!("{SMALLEST}[network]\nconnect = [\"localhost:1883/tcp\", \"127.0.0.1:1883/tcp\"]\n");
    let plan = compile(&check(&text, &Board::default()).unwrap());
    assert_eq!(plan.landlock.connect_tcp, [1883]);
    let connect = ["localhost:1883/tcp", "127.0.0.1:1883/tcp"].map(|to| to.parse().unwrap()).to_vec();
    assert_eq!(plan.network, Network::Device { listen: vec![], connect, private: vec![] });
}

#[test]
fn check_ports_of_the_network_daemon_are_refused_to_apps() {
    for port in ["53/udp", "53/tcp", "67/udp", "123/udp", "localhost:5353/udp"] {
        let found = problem(&format!("[network]\nlisten = [\"{port}\"]\n"));
        assert!(found.message.contains("the device's own"), "{found:?}");
    }
    let both = problem("[network]\nlisten = [\"80/tcp\", \"localhost:80/tcp\"]\n");
    assert_eq!(both.key, "network.listen[1]");
}

#[test]
fn check_private_hosts_are_names_of_connect() {
    let with = |private: &str| {
        format!(
            "[network]\nconnect = [\"nas.example:1/tcp\", \"10.0.0.1:1/tcp\"]\nprivate = [\"{private}\"]\n"
        )
    };
    check(&format!("{SMALLEST}{}", with("nas.example")), &Board::default()).unwrap();
    for (bad, why) in
        [("other.example", "no line of `connect`"), ("10.0.0.1", "no name"), ("localhost", "no name")]
    {
        let found = problem(&with(bad));
        assert!(found.message.contains(why) && found.key == "network.private[0]", "{found:?}");
    }
}

#[test]
fn check_local_ports_that_any_app_can_get_are_refused() {
    let connect = |to: &str| format!("[network]\nconnect = [\"{to}\"]\n");
    for port in [32_768, 40_000, 60_999] {
        assert!(problem(&connect(&format!("localhost:{port}/tcp"))).message.contains("gives to any app"));
    }
    for good in ["localhost:32767/tcp", "127.0.0.1:61000/tcp", "mqtt.example.com:40000/tcp"] {
        check(&format!("{SMALLEST}{}", connect(good)), &Board::default()).unwrap();
    }
}

#[test]
fn check_environment_overrides_the_defaults() {
    let text = format!(
        "{SMALLEST}[process]\nenvironment = {{ HOME = \"/tmp\", TZ = \"UTC\" }}\nworking_directory = \"/data\"\n"
    );
    let plan = compile(&check(&text, &Board::default()).unwrap());
    let env: Vec<(&str, &str)> =
        plan.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("HOME", "/tmp"), ("PATH", "/usr/bin:/bin"), ("TMPDIR", "/tmp"), ("TZ", "UTC")]);
    assert_eq!(plan.working_directory, "/data");
}

#[test]
fn check_unknown_key_names_line_and_remedy() {
    let misspelt = problem("[resources]\nmemroy = \"1MiB\"\n");
    assert_eq!((misspelt.line, misspelt.column, misspelt.key.as_str()), (6, 1, "resources.memroy"));
    assert_eq!(
        misspelt.to_string(),
        "manifest.toml:6: resources.memroy: unknown key\n  help: did you mean `memory`?"
    );
    assert!(problem("[resources]\njit = true\n").help.contains("belongs in [process]"));
    assert!(problem("[netwrok]\n").help.contains("[network]"));
    assert!(problem("[devices]\ncamera = [\"/dev/video0\"]\n").help.contains("serial, gpio"));
}

#[test]
fn check_several_faults_are_reported_together_by_line() {
    let text = "[app]\nid = \"x\"\nversion = 1\nexec = []\n[resources]\nmemory = \"1MB\"\ncpu = \"900%\"\n[network]\nlisten = [\"80\", \"0/tcp\"]\n";
    let lines: Vec<u32> = problems(text).iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 3, 4, 6, 9, 9]);
}

#[test]
fn check_missing_keys_are_named_with_an_example() {
    let found = problems("[resources]\n");
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["app.exec", "app.id", "app.version"]);
    assert!(found[1].help.contains("id = \"com.example.thermostat\""));
    assert_eq!(problems("").len(), 3);
}

#[test]
fn check_above_the_ceiling_names_the_ceiling() {
    let memory = problem("[resources]\nmemory = \"65MiB\"\n");
    assert_eq!((memory.line, memory.help.as_str()), (6, "use at most \"64MiB\""));
    assert!(problem("[resources]\ncpu = \"201%\"\n").message.contains("200%"));
    assert!(problem("[resources]\ntasks = 513\n").message.contains("512"));
    assert!(problem("[resources]\ntasks = 0\n").help.contains("1 to 512"));
    assert!(problem("[resources]\ntmp = \"17MiB\"\n").message.contains("`memory`"));
    assert!(problem("[resources]\nmemory = \"512KiB\"\ntmp = \"0KiB\"\n").help.contains("1MiB"));
}

#[test]
fn check_nonsense_of_one_value_is_refused() {
    for more in [
        "[network]\nlisten = [\"80/tcp\", \"80/tcp\"]\n",
        "[network]\nconnect = [\"*.example.com:443/tcp\"]\n",
        "[devices]\nserial = [\"/dev/mem\"]\n",
        "[devices]\ntpm = [\"/dev/tpmrm0\"]\n",
        "[devices]\ndeveloper = [\"/dev/vport0p1\"]\n",
        "[uses]\n\"os.gabion.Update\" = []\n",
        "[uses]\n\"os.gabion.Update\" = [\"*\"]\n",
        "[provides]\n\"os.gabion.Update\" = [\"com.example.other\"]\n",
        "[provides]\n\"com.example.T\" = [\"anyone\"]\n",
        "[process]\nprofile = \"none\"\n",
        "[process]\njit = \"yes\"\n",
        "[process]\nenvironment = { NOTIFY_SOCKET = \"/x\" }\n",
        "[process]\nworking_directory = \"data\"\n",
        "[lifecycle]\nwatchdog = \"1ms\"\n",
        "[lifecycle]\nstop_timeout = \"10m\"\n",
        "[lifecycle]\nrestart = \"sometimes\"\n",
        "[resources]\ntasks = -1\n",
        "[resources]\ntasks = 99999999999999999999\n",
        "process = 5\n",
    ] {
        let problem = problem(more);
        assert!(problem.line >= 5, "{more}: {problem}");
        assert!(!problem.help.is_empty(), "{more}: {problem}");
    }
}

#[test]
fn check_text_too_long_or_not_toml_is_one_message() {
    let long = format!("{SMALLEST}#{}", "x".repeat(policy::TEXT_MAX));
    assert!(problems(&long)[0].message.contains("bytes of manifest"));
    let broken = problems("[app\nid = \"x\"\n");
    assert!(broken[0].message.starts_with("not TOML"), "{broken:?}");
    let twice = problems(&format!("{SMALLEST}[app]\n"));
    assert_eq!(twice[0].line, 5, "{twice:?}");
    let deep = format!("a = {}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(!problems(&deep).is_empty());
}

#[test]
fn check_system_table_is_for_the_image_alone() {
    assert!(problem("[system]\ncapabilities = [\"CAP_KILL\"]\n").message.contains("part of the image"));
    assert!(problems(SYSTEM).iter().any(|problem| problem.key == "app.id"));
    assert!(check_system(SMALLEST, &Board::default()).is_err());
    assert!(check_system(&SYSTEM.replace("CAP_KILL", "CAP_SYS_ADMIN"), &Board::default()).is_err());
}

#[test]
fn check_system_filter_leaves_no_room_for_other_grants() {
    let text = "[app]\nid = \"os.gabion.bus\"\nversion = \"1.0.0\"\nexec = [\"/busd\"]\n\
                [process]\nprofile = \"strict\"\n[system]\nfilter = \"router\"\n";
    let plan = compile_system(&check_system(text, &Board::default()).unwrap());
    assert_eq!(plan.system.as_ref().and_then(|system| system.filter), Some(SystemFilter::Router));
    assert_eq!(Plan::decode_system(&plan.encode(), &Board::default()), Ok(plan));
    let more = [
        text.replace("strict", "default"),
        text.replace("[system]", "jit = true\n[system]"),
        text.replace("[system]", "[network]\nlisten = [\"80/tcp\"]\n[system]"),
        text.replace("\"router\"", "\"rooter\""),
    ];
    for text in more {
        let problems = check_system(&text, &Board::default()).unwrap_err();
        assert!(problems.iter().any(|problem| problem.key == "system.filter"), "{text}");
    }
}

#[test]
fn compile_system_grants_and_compile_does_not() {
    let manifest = check_system(SYSTEM, &Board::default()).unwrap();
    let granted = compile_system(&manifest);
    let system = granted.system.clone().unwrap();
    assert_eq!((system.capabilities, system.host_pids), (1 << 5, true));
    assert_eq!(compile(manifest.manifest()).system, None);
    assert_eq!(Plan::decode_system(&granted.encode(), &Board::default()), Ok(granted.clone()));
    assert!(matches!(Plan::decode(&granted.encode(), &Board::default()), Err(DecodeError::Refused(_))));
}

#[test]
fn decode_plan_above_another_boards_ceiling_is_refused() {
    let bytes = compile(&check(DESIGN, &Board::default()).unwrap()).encode();
    let small = Board { memory: policy::Bytes::mebibytes(8), ..Board::default() };
    assert!(matches!(Plan::decode(&bytes, &small), Err(DecodeError::Refused(_))));
}

#[test]
fn decode_foreign_long_or_trailing_bytes_are_refused() {
    let board = Board::default();
    let mut bytes = compile(&check(DESIGN, &board).unwrap()).encode();
    bytes.push(0);
    assert_eq!(Plan::decode(&bytes, &board), Err(DecodeError::NotCanonical));
    assert_eq!(Plan::decode(b"", &board), Err(DecodeError::NotAPlan));
    assert_eq!(
        Plan::decode(&[0; policy::PLAN_MAX + 1], &board),
        Err(DecodeError::TooLong(policy::PLAN_MAX + 1))
    );
}

#[test]
fn seccomp_blob_layout_holds() {
    let plan = compile(&check(DESIGN, &Board::default()).unwrap());
    let blob = plan.seccomp_blob();
    let word = |at: usize| u32::from_ne_bytes(blob[at * 4..at * 4 + 4].try_into().unwrap()) as usize;
    let count = word(0);
    assert!((1..=4).contains(&count));
    let instructions: usize = (1..=count).map(word).sum();
    assert_eq!(blob.len(), 4 + 4 * count + 8 * instructions);
}
