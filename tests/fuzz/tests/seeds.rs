//! Seeds that our own encoders make, so that they stay messages of this version: `GABION_WRITE_SEEDS=1` writes them anew.

use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bus::attest_link::{Developer, FromAttestd, Package, ToAttestd};
use bus::control::{Event, EventKind, FromRouter, Grant, Key, Limits, ToRouter, Verdict};
use bus::desk::{Answer, Ask, Asked, Followed, News, Told};
use bus::devport::Frame;
use bus::network_link::{Act, FromNetd, Grants, Refusal, ToNetd};
use netd::dns::reply::Extra;
use netd::dns::{self, Kind};
use netd::link::{arp, dhcp};
use netd::mdns::{Identity, Responder};
use netd::time::nts::fields::Nonces;
use netd::time::nts::{Session, fields, records};
use netd::time::wire;
use policy::{Board, Plan, Version};
use sandboxd::packages::ledger::Ledger;
use sandboxd::registry::Registry;
use sandboxd::reports::Reports;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, TYPE};
use sys::bundle::{BoxSpec, Event as Ended, Next, Power, Request, Restart};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

/// The messages that are made, by target and name.
fn made() -> Result<Vec<(&'static str, &'static str, Vec<u8>)>> {
    let mut all = control();
    all.extend(request());
    all.extend(event());
    all.extend(desk());
    all.extend(devport());
    all.extend(sntp());
    all.extend(nts());
    all.extend(mdns()?);
    all.extend(net());
    all.extend(attest());
    all.extend(update());
    all.extend(disk());
    let manifest = |name: &str| fs::read_to_string(folder("manifest").join(name)).context("a manifest");
    for name in ["small", "full"] {
        let text = manifest(name)?;
        let checked = policy::check(&text, &Board::default());
        let plan =
            policy::compile(&checked.map_err(|wrong| anyhow::anyhow!("{name}: {}", wrong[0]))?).encode();
        let kept = [&u32::try_from(text.len())?.to_le_bytes(), text.as_bytes(), &plan].concat();
        all.extend([("plan", name, plan), ("kept", name, kept)]);
    }
    let system = policy::check_system(&manifest("system")?, &Board::default());
    let system = system.map_err(|wrong| anyhow::anyhow!("system: {}", wrong[0]))?;
    all.push(("plan", "system", policy::compile_system(&system).encode()));
    let mut registry = Registry::default();
    all.push(("registry", "empty", registry.to_string().into()));
    registry.assign("com.example.thermostat")?;
    registry.assign("com.example.display")?;
    all.push(("registry", "two", registry.to_string().into()));
    // Without its sum, which the target makes.
    let text = registry.to_string();
    all.push(("registry", "body", text.split("sum ").next().context("a body")?.into()));
    let version = |patch| Version { major: 1, minor: 0, patch };
    let first = Ledger::default().switched(&[("com.example.a", version(0))], 60).context("a ledger")?;
    let kept = first.kept();
    let second = kept.switched(&[("com.example.a", version(1)), ("com.example.b", version(0))], 60);
    let second = second.context("a second")?;
    all.push(("ledger", "trial", second.to_string().into()));
    let back = second.back("com.example.b: it ended: exit 3");
    all.push(("ledger", "back", back.to_string().into()));
    let removed = kept.removed("com.example.a").context("one less")?.to_string();
    all.push(("ledger", "removed", removed.split("sum ").next().context("a body")?.into()));
    all.push(("package", "program", program()));
    Ok(all)
}

/// Changes to a good disk: none; a kernel image whose attempts are used up; a table that goes round; a directory
/// that goes on in another; a partition elsewhere.
fn disk() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let change = |sector: u16, at: u16, bytes: &[u8]| {
        let length = bytes.len() as u8;
        [&sector.to_le_bytes()[..], &at.to_le_bytes(), &[length], bytes].concat()
    };
    let program = |name: &[u8], text: &[u8]| {
        let mut bytes = vec![0; 0x200];
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = 1;
        bytes[0x98..0x98 + name.len()].copy_from_slice(name);
        bytes[0xa8..0xac].copy_from_slice(&(text.len() as u32).to_le_bytes());
        bytes[0xac..0xb0].copy_from_slice(&0x200_u32.to_le_bytes());
        [&bytes, text].concat()
    };
    vec![
        ("disk", "good", Vec::new()),
        ("disk", "other-root", change(2, 128 + 16, &[0x66; 16])),
        ("disk", "loop", [change(41, 6, &[3, 0]), change(59, 6, &[3, 0])].concat()),
        ("disk", "crossing", [change(41, 6, &[2, 0]), change(59, 6, &[2, 0])].concat()),
        ("disk", "moved", change(2, 32, &[41, 0])),
        ("kernelimage", "line", program(b".cmdline", b"ro GABION_FLOOR=3")),
        ("kernelimage", "signatures", program(b".pcrsig", b"{}")),
    ]
}

/// By nobody in particular: a signature is another each time.
fn permit() -> Vec<u8> {
    let mut point = [2; 65];
    point[0] = 4;
    let terms = permit::Terms {
        catalog: "acme".to_owned(),
        device: "ab".repeat(32),
        id: "00112233445566778899aabbccddeeff".to_owned(),
        issued_s: 1_800_000_000,
        expires_s: 1_800_604_800,
        developer: permit::Developer { certificate: [1; 32], point },
    };
    terms
        .issue(b"an authority's certificate", |_| Ok::<_, permit::Refusal>([7; 64]))
        .unwrap_or_default()
        .into()
}

fn attest() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let app = Package {
        uid: 10_001,
        id: "com.example.a".into(),
        version: "1.0.0".into(),
        root_hash: "ab".repeat(32),
        certificate: true,
    };
    let developer = Developer { certificate: [1; 32], x: [2; 32], y: [3; 32] };
    let mut reports = Reports::default();
    let mut report = None;
    for code in ["code=1", "code=2", "code=1"] {
        report = Some(reports.add("com.example.a", "1.0.0", "exit", code, 1_700_000_000).0);
    }
    vec![
        ("attestlink", "app", ToAttestd::App(app).encode()),
        ("attestlink", "report", ToAttestd::Report(report.unwrap_or_default()).encode()),
        ("permit", "good", permit()),
        ("attestlink", "developer", FromAttestd::Developer(Some(developer)).encode()),
        ("attestlink", "record", FromAttestd::Record("{}".into()).encode()),
        ("attestlink", "unlocked", FromAttestd::Unlocked([[1; 32], [2; 32]], 2 << 20, 4096).encode()),
        ("reports", "two", reports.text().into()),
    ]
}

/// The files of a repository, and updates that go well: everything is new; everything is there already.
fn update() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let files = fuzz_entries::update::genuine();
    let names = ["root", "timestamp", "snapshot", "targets", "os"];
    let mut all: Vec<_> =
        names.into_iter().zip(files).map(|(name, file)| ("metadata", name, file.clone())).collect();
    let timestamp = &files[1];
    let told = [&[1][..], &u16::try_from(timestamp.len()).unwrap_or(0).to_be_bytes(), timestamp].concat();
    let rest = [0, 4, 0, 5, 0, 6];
    all.extend([
        ("update", "new", vec![0, 0, 3, 0, 4, 0, 5, 0, 6]),
        ("update", "kept", vec![0, 3, 3, 4, 5, 6]),
        ("update", "told", [&[0, 0][..], &told, &rest].concat()),
    ]);
    all
}

fn net() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let grants = Grants {
        uid: 10_001,
        id: "com.example.a".into(),
        connect: vec!["a.example:443/tcp".into(), "192.0.2.1:1/udp".into()],
        listen: vec!["localhost:1883/tcp".into()],
        private: vec!["a.example".into()],
        unfiltered: false,
    };
    let refusal = Refusal {
        uid: 10_001,
        act: Act::Connect,
        peer: "192.0.2.1".into(),
        port: 443,
        udp: false,
        count: 3,
        allow: "connect = [\"192.0.2.1:443/tcp\"]".into(),
    };
    let mut answer = dns::reply::question(7, "a.example", Kind::A, Extra::None);
    answer[2] |= 0x80;
    answer[7] = 1;
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    let client = dhcp::wire::Client { mac: [2, 0, 0, 0, 0, 1], host_name: None };
    let mut offer = dhcp::wire::write(&dhcp::wire::Ask::Discover, 7, &client, 0);
    (offer[0], offer[19], offer[242]) = (2, 7, 2);
    offer[16..19].copy_from_slice(&[192, 0, 2]);
    // After the kind: who grants it. (What was there is passed over.)
    offer.splice(243.., [54, 4, 192, 0, 2, 1, 1, 4, 255, 255, 255, 0, 3, 4, 192, 0, 2, 1, 255]);
    offer.resize(320, 0);
    let mut ack = offer.clone();
    ack[242] = 5;
    let mut frame = dhcp::frame::broadcast(&ack, [2, 0, 0, 0, 0, 2], [192, 0, 2, 1].into());
    // From the server's port to the client's.
    frame.swap(35, 37);
    vec![
        ("question", "a", dns::reply::question(7, "a.example", Kind::A, Extra::None)),
        ("question", "edns", dns::reply::question(9, "c.example", Kind::A, Extra::Padded)),
        ("question", "aaaa", dns::reply::question(8, "b.example", Kind::Aaaa, Extra::None)),
        ("answer", "one", answer),
        ("advert", "servers", advert(600)),
        ("advert", "no-more", [advert(600), advert(0)].concat()),
        ("frame", "answer", frame),
        ("frame", "arp", arp::announcement([2, 0, 0, 0, 0, 2], [192, 0, 2, 7].into()).to_vec()),
        ("lease", "granted", [offer, ack].concat()),
        ("netlink", "app", ToNetd::App(grants).encode()),
        ("netlink", "config", ToNetd::Config("[dns]\n".into()).encode()),
        ("netlink", "refused", FromNetd::Refused(refusal).encode()),
        ("netlink", "taken", FromNetd::Taken(10_001).encode()),
        ("netlink", "fault", FromNetd::Fault("line 1: no".into()).encode()),
        ("netlink", "asked", ToNetd::Name { ask: 7, uid: 10_001, address: [192, 0, 2, 1].into() }.encode()),
        ("netlink", "named", FromNetd::Name { ask: 7, host: "a.example".into() }.encode()),
    ]
}

/// `RTM_NEWNDUSEROPT` with two name servers of a router, and its address behind them; of a little-endian machine.
fn advert(lifetime_s: u32) -> Vec<u8> {
    let mut bytes = vec![92, 0, 0, 0, 68, 0];
    bytes.resize(16, 0);
    bytes.extend([10, 0, 40, 0, 2, 0, 0, 0, 134, 0, 0, 0, 0, 0, 0, 0, 25, 5, 0, 0]);
    bytes.extend(lifetime_s.to_be_bytes());
    for last in [1, 2] {
        bytes.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets());
    }
    bytes.extend([20, 0, 1, 0]);
    bytes.extend(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).octets());
    bytes
}

fn control() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let key = || Key { uid: 10_001, interface: "os.gabion.Time".into() };
    let verdict =
        Verdict::Granted(Grant { server: 7, methods: vec!["GetStatus".into()], limits: Limits::default() });
    let listen = ToRouter::Listen { key: key(), app: "a.b.c".into(), system: false, verdict };
    let event = Event {
        kind: EventKind::Refused,
        uid: 10_001,
        interface: "os.gabion.Time".into(),
        serial: 17,
        detail: "why not".into(),
        suppressed: 3,
    };
    vec![
        ("control", "revoke", ToRouter::Revoke(key()).encode()),
        ("control", "listen", listen.encode()),
        ("control", "monitor", ToRouter::Monitor(true).encode()),
        ("control", "sync", ToRouter::SyncEnd(1).encode()),
        ("control", "hello", FromRouter::Hello(3).encode()),
        ("control", "event", FromRouter::Event(event).encode()),
        ("control", "forget", FromRouter::Forget(9).encode()),
    ]
}

fn request() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let spec = BoxSpec {
        id: 10_001,
        capabilities: 0,
        host_pids: false,
        wider: 0,
        tmp_bytes: 4096,
        open_files: 64,
        restart: Restart::Always,
        stop_timeout_ms: 5000,
        hostname: "box".into(),
        directory: "/".into(),
        argv: vec!["/bin/true".into(), "-x".into()],
        env: vec!["A=b".into()],
    };
    let system =
        BoxSpec { id: 1001, capabilities: 1 << 12, host_pids: true, env: Vec::new(), ..spec.clone() };
    vec![
        ("request", "put", Request::Put(spec).encode()),
        ("request", "put-system", Request::Put(system).encode()),
        ("request", "start", Request::Start(10_001).encode()),
        ("request", "heard", Request::Heard(10_001, 2).encode()),
        ("request", "power", Request::Power(Power::Reboot).encode()),
    ]
}

fn event() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let refused = Ended::Refused { id: 10_001, step: 4, errno: 5, next: Next::Backoff(6) };
    let exited =
        Ended::Exited { id: 10_001, pid: 2, code: 3, status: 4, uptime_ms: 5, next: Next::Restart(6) };
    let kept = Ended::Kept {
        id: 10_001,
        pid: 2,
        starts: 3,
        ends: vec![(5, refused.clone()), (6, exited.clone())],
        more: 4,
    };
    vec![
        ("event", "kept", kept.encode()),
        ("event", "kept-end", Ended::KeptEnd { safe_mode: true }.encode()),
        ("event", "started", Ended::Started { id: 10_001, pid: 2, starts: 3 }.encode()),
        ("event", "refused", refused.encode()),
        ("event", "exited", exited.encode()),
        ("event", "failed", Ended::Failed { id: 10_001, errno: 2 }.encode()),
    ]
}

fn desk() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let asked = |ask| Asked { number: 7, ask }.encode();
    let why = Ask::Why("com.example.a".into(), "os.gabion.Time".into(), "GetStatus".into());
    let follow = Followed { logs: vec!["com.example.a".into()], audit: true, exits: false, calls: true };
    let text = Answer::Text { text: "line\n".into(), lost: 3 };
    vec![
        ("desk", "why", asked(why)),
        ("desk", "follow", asked(Ask::Follow(follow))),
        ("desk", "power", asked(Ask::Power { off: true, reason: "because".into() })),
        ("desk", "text", Told::Answer(7, text).encode()),
        (
            "desk",
            "lines",
            Told::News(News::Lines { app: "com.example.a".into(), text: "x\n".into() }).encode(),
        ),
    ]
}

/// The first byte says how the others are cut up.
fn devport() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let frames = [
        Frame::Open([7; 8], "os.gabion.Time"),
        Frame::Opened([7; 8]),
        Frame::Refused([192; 8], "there is none"),
        Frame::Data(b"{\"method\":\"os.gabion.Time.GetStatus\"}\0"),
        Frame::File(&[192, 219, 0]),
        Frame::FileEnd(""),
        Frame::Closed,
    ];
    let mut bytes = vec![4];
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    vec![("devport", "all", bytes)]
}

/// A round of three servers that agree, one that lies and one that wants no more questions.
fn sntp() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let answer = |stratum: u8, seconds: u32| {
        let mut bytes = [0; 48];
        bytes[..4].copy_from_slice(&[0x24, stratum, 6, 0xe9]);
        bytes[12..16].copy_from_slice(b"DENY");
        bytes[24..32].copy_from_slice(b"whatever");
        for at in [32, 40] {
            bytes[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
        }
        bytes
    };
    // 1900 to 1970, and 1.7 billion seconds.
    let begin = (2_208_988_800 + 1_700_000_000_u64) as u32;
    let near = answer(2, begin + 5);
    let round = [near, answer(1, begin + 900), near, near, answer(0, begin)].concat();
    vec![("sntp", "one", near.to_vec()), ("sntp", "rounds", round.repeat(3))]
}

/// What a server says that gives two cookies, and a question, whose fields are those of an answer.
fn nts() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let record = |kind: u8, body: &[u8]| [&[0, kind, 0, body.len() as u8], body].concat();
    let cookie = record(5, &[6; 100]);
    let said =
        [record(1, &[0, 0]), record(4, &[0, 15]), cookie.clone(), cookie, record(6, b"a.b"), record(0, &[])];
    let nonces = Nonces { origin: [1; 8], unique: [2; 32], cipher: [3; 16] };
    let mut session = Session { to_server: [4; 32], from_server: [5; 32], cookies: vec![vec![6; 100]; 7] };
    let question = fields::question(&mut session, &nonces).unwrap_or_default();
    vec![("nts", "established", said.concat()), ("nts", "fields", question)]
}

/// The probes and announcements of another device of the same name, and questions of both kinds.
fn mdns() -> Result<Vec<(&'static str, &'static str, Vec<u8>)>> {
    let framed = |time: u8, message: &[u8]| {
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&[time][..], &length, message].concat()
    };
    let identity = Identity { id: "0011aabbccdd".into(), port: 7000 };
    let mut other = Responder::new(&identity, [[192, 0, 2, 9].into()], 0, 0);
    let mut told = Vec::new();
    for now_ms in (0..4000).step_by(250) {
        while let Some(sent) = other.poll(now_ms) {
            told.push(sent.bytes);
        }
    }
    let (probe, announcement) = (told.first().context("a probe")?, told.last().context("an announcement")?);
    let mut asked = Packet::new_query(7);
    for (name, kind) in [("_gabion._tcp.local", TYPE::PTR), ("gabion-ccdd.local", TYPE::A)] {
        let class = QCLASS::CLASS(CLASS::IN);
        asked.questions.push(Question::new(Name::new(name)?, QTYPE::TYPE(kind), class, false));
    }
    let question = asked.build_bytes_vec_compressed()?;
    let quiet: Vec<u8> = (0..6).flat_map(|_| framed(100, &[])).collect();
    Ok(vec![
        ("mdns", "contest", [framed(0, probe), framed(100, probe), quiet.clone()].concat()),
        ("mdns", "taken", [framed(0, announcement), quiet.clone()].concat()),
        ("mdns", "defended", [quiet.clone(), framed(0, announcement), quiet.clone()].concat()),
        ("mdns", "asked", [quiet, framed(0, &question), framed(101, &question), framed(200, &[])].concat()),
    ])
}

/// An ELF file with code, data, a loader and a stack that is not executable.
fn program() -> Vec<u8> {
    let loader = b"/lib64/ld-linux-x86-64.so.2\0";
    let segments =
        [(3_u32, 4_u32, loader.len() as u64), (1, 5, 0), (1, 6, 0), (2, 6, 32), (0x6474_e551, 6, 0)];
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    bytes.extend([0_u64, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([64_u16, 56, 5, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    let at = 64 + 56 * segments.len() as u64;
    for (kind, flags, size) in segments {
        bytes.extend([kind, flags].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend([at, 0, 0, size, size, 0].iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes.extend(loader);
    bytes.extend([0; 32]);
    bytes
}

#[test]
fn seeds_of_our_encoders_are_those_in_the_tree() -> Result<()> {
    for (target, name, bytes) in made()? {
        let path = folder(target).join(name);
        if std::env::var_os("GABION_WRITE_SEEDS").is_some() {
            fs::create_dir_all(folder(target))?;
            fs::write(&path, &bytes)?;
        }
        let there = fs::read(&path).with_context(|| path.display().to_string())?;
        assert_eq!(there, bytes, "{target}/{name}: write it anew with GABION_WRITE_SEEDS=1");
    }
    Ok(())
}

#[test]
fn images_among_the_seeds_are_taken() -> Result<()> {
    for name in ["packed", "plain"] {
        let image = fs::read(folder("image").join(name))?;
        let contents = package::erofs::check(&image[..], package::elf::Machine::X86_64);
        assert!(contents.as_ref().is_ok_and(|contents| contents.entries > 0), "{name}: {contents:?}");
    }
    Ok(())
}

/// What a seed is for is the good path: nothing of a target's that is refused at its first byte.
#[test]
fn seeds_that_are_made_are_taken() -> Result<()> {
    for (target, name, bytes) in made()? {
        let taken = match target {
            "control" => ToRouter::decode(&bytes).is_some() || FromRouter::decode(&bytes).is_some(),
            "request" => Request::decode(&bytes).is_some(),
            "event" => Ended::decode(&bytes).is_some(),
            "desk" => Asked::decode(&bytes).is_some() || Told::decode(&bytes).is_some(),
            "plan" if name == "system" => Plan::decode_system(&bytes, &Board::default()).is_ok(),
            "plan" => Plan::decode(&bytes, &Board::default()).is_ok(),
            "ledger" if name != "removed" => Ledger::parse(std::str::from_utf8(&bytes)?).is_ok(),
            "registry" if name != "body" => Registry::parse(std::str::from_utf8(&bytes)?).is_ok(),
            "package" => package::elf::check(&bytes[..], package::elf::Machine::X86_64).is_ok(),
            "nts" if name == "established" => records::reply(&bytes).is_ok(),
            "disk" if name == "good" => fuzz_entries::disk::changed(&bytes),
            "update" => fuzz_entries::update::arrives(&bytes),
            "sntp" => wire::answer(&bytes, *b"whatever", 1_700_000_000).is_ok(),
            _ => true,
        };
        assert!(taken, "{target}/{name}");
    }
    Ok(())
}
