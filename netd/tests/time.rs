//! The clock against real time servers (chronyd) and hostile ones, in network namespaces of the tests' own. The clock is a
//! model: this machine's is never set.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netd::state::{Link, NetState};
use netd::time::ask::{Asked, ask, ask_secured};
use netd::time::nts::establish::{self, Trust, establish};
use netd::time::nts::fields::Nonces;
use netd::time::{
    Clock, Inputs, Lookup, Now, Outputs, PORT, Problem, Server, Settings, Source, TimeState, Why, run,
};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Of `time.example`, valid from 2026 to 2124, with its key and authority.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");
/// 2025-07-01: before that certificate.
const EARLY_S: i64 = 1_751_328_000;
const SECOND: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// A clock that shows this machine's time plus something, and is synchronised when it was stepped by a server.
#[derive(Clone, Default)]
struct Model(Rc<RefCell<Shown>>);

#[derive(Default)]
struct Shown {
    wrong_ns: i64,
    is_synchronised: bool,
    steps: usize,
}

impl Model {
    fn wrong(wrong_s: i64) -> Self {
        Self(Rc::new(RefCell::new(Shown { wrong_ns: wrong_s * SECOND, ..Shown::default() })))
    }
}

impl Clock for Model {
    fn now(&self) -> io::Result<Now> {
        let real_ns = sys::time::clock::realtime_ns()? + self.0.borrow().wrong_ns;
        Ok(Now { local_ns: sys::time::clock::raw_ns()?, real_ns })
    }

    fn is_synchronised(&self) -> bool {
        self.0.borrow().is_synchronised
    }

    fn step(&mut self, offset_ns: i64, error_ns: Option<i64>) -> io::Result<()> {
        let mut shown = self.0.borrow_mut();
        shown.wrong_ns += offset_ns;
        shown.is_synchronised = error_ns.is_some();
        shown.steps += 1;
        Ok(())
    }

    fn slew(&mut self, offset_ns: i64, _error_ns: i64, _interval_log2_s: u8) -> io::Result<()> {
        self.0.borrow_mut().wrong_ns += offset_ns;
        Ok(())
    }
}

/// `time.example` has an address where nobody answers, and one that is good.
struct Names;

impl Lookup for Names {
    fn lookup<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Vec<IpAddr>> + 'a>> {
        Box::pin(async move {
            match name {
                "time.example" => vec![host(99), host(1)],
                "another.example" => vec![host(1)],
                _ => Vec::new(),
            }
        })
    }
}

fn host(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A network namespace for this thread and what it starts, with a loopback.
fn network_of_our_own() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace: the tests run as root")?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip")?;
    ensure!(up.success(), "ip link set lo up");
    Ok(())
}

/// A chronyd that serves this machine's time at one address and sets no clock.
struct Chronyd(Child);

impl Chronyd {
    fn start(folder: &Path, address: IpAddr) -> Result<Self> {
        let configuration = folder.join(format!("{address}.conf"));
        let pid = folder.join(format!("{address}.pid"));
        let text = format!(
            "local stratum 3\nallow\nbindaddress {address}\ncmdport 0\nbindcmdaddress /\npidfile {}\n\
            ntsserverkey {CERTIFICATES}/server.key\nntsservercert {CERTIFICATES}/server.pem\n",
            pid.display()
        );
        std::fs::write(&configuration, text)?;
        let child = Command::new("chronyd")
            .args(["-x", "-d", "-u", "root", "-f"])
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("chronyd")?;
        Ok(Self(child))
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        // It may have ended by itself; the test then failed for another reason.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who plays the other parts of `netd`.
struct Site {
    settings: watch::Sender<Settings>,
    floor_s: watch::Sender<i64>,
    net: watch::Sender<NetState>,
    state: watch::Receiver<TimeState>,
    keep_s: watch::Receiver<i64>,
}

fn site(servers: Vec<Server>, built_s: i64) -> (Site, Inputs, Outputs) {
    let (settings, settings_told) = watch::channel(Settings { nts: Vec::new(), servers });
    let (floor_s, floor_told) = watch::channel(0);
    let (net, net_told) = watch::channel(NetState::default());
    let (state, state_told) = watch::channel(TimeState::default());
    let (keep_s, keep_told) = watch::channel(0);
    let inputs = Inputs {
        settings: settings_told,
        floor_s: floor_told,
        net: net_told,
        roots: Arc::new(RootCertStore::empty()),
        built_s,
    };
    (Site { settings, floor_s, net, state: state_told, keep_s: keep_told }, inputs, Outputs { state, keep_s })
}

fn link_up() -> NetState {
    let link = Link {
        index: 2,
        name: "eth0".into(),
        hardware_address: None,
        loopback: false,
        up: true,
        addresses: vec![(host(1), 8)],
        gateways: Vec::new(),
        missing: None,
    };
    NetState { links: vec![link], ..NetState::default() }
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Runs the clock's part beside a test's story.
async fn beside<T>(
    inputs: Inputs,
    outputs: &Outputs,
    clock: &Model,
    story: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut clock = clock.clone();
    tokio::select! {
        ended = run(inputs, outputs, &mut clock, &Names) => {
            ended?;
            anyhow::bail!("the part ended by itself")
        }
        told = story => told,
    }
}

fn now_s() -> Result<i64> {
    Ok(sys::time::clock::realtime_ns()? / SECOND)
}

#[test]
fn clock_is_set_by_chronyd_as_soon_as_there_is_a_link() -> Result<()> {
    network_of_our_own()?;
    let folder = TempDir::new()?;
    let _servers = (Chronyd::start(folder.path(), host(1))?, Chronyd::start(folder.path(), host(2))?);
    wait_for_time(host(1))?;
    wait_for_time(host(2))?;
    let servers = vec![Server::Address((host(1), PORT).into()), Server::Address((host(2), PORT).into())];
    let clock = Model::wrong(-500 * DAY_S);
    let (mut site, inputs, outputs) = site(servers, now_s()? - 900 * DAY_S);
    let state = block_on(beside(inputs, &outputs, &clock, async {
        let waiting = site.state.wait_for(|state| state.problem.is_some()).await?.clone();
        assert_eq!((waiting.source, waiting.problem), (Source::Rtc, Some(Problem::NoLink)));
        site.net.send_replace(link_up());
        let state = site.state.wait_for(|state| state.source == Source::Network).await?.clone();
        site.keep_s.wait_for(|kept_s| *kept_s > 0).await?;
        Ok(state)
    }))?;
    let shown = clock.0.borrow();
    assert!(shown.wrong_ns.abs() <= state.error_us * 1000, "{} {state:?}", shown.wrong_ns);
    assert!(state.agreed && state.error_us < 1_500_000 && state.stratum == 3, "{state:?}");
    assert!((state.offset_us / 1_000_000 - 500 * DAY_S).abs() <= 1, "{state:?}");
    assert_eq!(shown.steps, 1);
    assert!((now_s()? - DAY_S - *site.keep_s.borrow()).abs() < 60);
    Ok(())
}

#[test]
fn liar_beside_two_chronyds_changes_nothing() -> Result<()> {
    network_of_our_own()?;
    let folder = TempDir::new()?;
    let _servers = (Chronyd::start(folder.path(), host(1))?, Chronyd::start(folder.path(), host(2))?);
    wait_for_time(host(1))?;
    wait_for_time(host(2))?;
    let servers = (1..=3).rev().map(|last| Server::Address((host(last), PORT).into())).collect();
    let clock = Model::wrong(-500 * DAY_S);
    let (mut site, inputs, outputs) = site(servers, now_s()? - 900 * DAY_S);
    let state = block_on(async {
        let liar = UdpSocket::bind((host(3), PORT)).await?;
        let ahead = SECOND * DAY_S * 300;
        let lies = serve(&liar, move |question| vec![answer(question, ahead, 1, *b"GPS\0")]);
        tokio::select! {
            ended = lies => ended,
            told = beside(inputs, &outputs, &clock, async {
                site.net.send_replace(link_up());
                Ok(site.state.wait_for(|state| state.source == Source::Network).await?.clone())
            }) => told,
        }
    })?;
    assert!(clock.0.borrow().wrong_ns.abs() <= state.error_us * 1000, "{state:?}");
    assert!(state.agreed && state.server != Some("127.0.0.3".into()), "{state:?}");
    Ok(())
}

#[test]
fn server_by_name_is_asked_at_its_other_address_if_one_is_silent() -> Result<()> {
    network_of_our_own()?;
    let folder = TempDir::new()?;
    let _server = Chronyd::start(folder.path(), host(1))?;
    let clock = Model::wrong(-500 * DAY_S);
    let built_s = now_s()? - 900 * DAY_S;
    let (mut site, inputs, outputs) = site(vec![Server::Name("time.example".into())], built_s);
    let state = block_on(beside(inputs, &outputs, &clock, async {
        site.net.send_replace(link_up());
        Ok(site.state.wait_for(|state| state.source == Source::Network).await?.clone())
    }))?;
    assert_eq!(state.server, Some("time.example".into()));
    // One server's word sets the clock, but the floor rises only by the time that passed.
    assert!(!state.agreed && *site.keep_s.borrow() < built_s + DAY_S);
    Ok(())
}

fn roots() -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(format!("{CERTIFICATES}/ca.pem"))?)?;
    Ok(Arc::new(roots))
}

fn is_set(state: &TimeState) -> bool {
    state.source == Source::Network
}

fn is_set_or_fails(state: &TimeState) -> bool {
    is_set(state) || matches!(state.problem, Some(Problem::Servers(_)))
}

/// What comes of asking the server of this name, with NTS, by a clock that shows this, once `is_over`.
fn secured(
    name: &str,
    shown_s: i64,
    roots: Arc<RootCertStore>,
    is_over: fn(&TimeState) -> bool,
) -> Result<(Model, TimeState, watch::Receiver<i64>)> {
    let clock = Model::wrong(shown_s - now_s()?);
    let (mut site, inputs, outputs) = site(Vec::new(), EARLY_S - DAY_S);
    site.settings.send_replace(Settings { nts: vec![name.into()], servers: Vec::new() });
    let inputs = Inputs { roots, ..inputs };
    let state = block_on(beside(inputs, &outputs, &clock, async {
        // There is another server, without NTS, that is not to be asked.
        site.net.send_replace(NetState { time_servers: vec![Ipv4Addr::LOCALHOST], ..link_up() });
        Ok(site.state.wait_for(is_over).await?.clone())
    }))?;
    Ok((clock, state, site.keep_s))
}

#[test]
fn clock_is_set_by_nts_even_if_it_is_before_the_certificate() -> Result<()> {
    network_of_our_own()?;
    let folder = TempDir::new()?;
    let _server = Chronyd::start(folder.path(), host(1))?;
    wait_for_keys()?;
    for shown_s in [EARLY_S, now_s()? - 2 * DAY_S] {
        let (clock, state, kept_s) = secured("time.example", shown_s, roots()?, is_set)?;
        assert!(state.nts && !state.agreed, "{state:?}");
        assert_eq!(state.server, Some("time.example".into()));
        assert!(clock.0.borrow().wrong_ns.abs() <= state.error_us * 1000, "{state:?}");
        assert!(*kept_s.borrow() > now_s()? - 2 * DAY_S, "one that is authentic raises the floor");
    }
    Ok(())
}

#[test]
fn clock_is_not_set_by_a_server_whose_certificate_is_not_good() -> Result<()> {
    network_of_our_own()?;
    let folder = TempDir::new()?;
    let _server = Chronyd::start(folder.path(), host(1))?;
    wait_for_keys()?;
    for (name, roots) in [("another.example", roots()?), ("time.example", Arc::new(RootCertStore::empty()))] {
        let (clock, state, _) = secured(name, EARLY_S, roots, is_set_or_fails)?;
        assert_eq!(state.problem, Some(Problem::Servers(Why::NoAnswer)), "{name}");
        assert_eq!(clock.0.borrow().steps, 0, "{name}");
    }
    Ok(())
}

#[test]
fn cookies_of_nts_are_renewed_by_every_answer() -> Result<()> {
    network_of_our_own()?;
    let folder = TempDir::new()?;
    let _server = Chronyd::start(folder.path(), host(1))?;
    wait_for_keys()?;
    let trust = Trust { roots: roots()?, now_s: now_s()?, may_be_early: false };
    block_on(async {
        let mut known = establish("time.example", (host(1), establish::PORT).into(), &trust).await?;
        assert!(!known.is_provisional && known.session.cookies.len() == 8);
        known.session.cookies.truncate(5);
        for count in 0..20_u8 {
            let mut asked = Asked::Nothing;
            // An answer may be late, which costs its cookie.
            for again in 0..5 {
                let number = 5 * count + again;
                let nonces = Nonces { origin: [number; 8], unique: [number; 32], cipher: [number; 16] };
                let server = (host(1), PORT).into();
                asked = ask_secured(0, server, &mut known.session, &nonces, EARLY_S).await;
                if asked != Asked::Nothing {
                    break;
                }
            }
            assert!(matches!(asked, Asked::Sample(sample) if sample.is_authentic), "{asked:?}");
            assert_eq!(known.session.cookies.len(), 8);
        }
        // A key that the server does not have: it says so, and nothing it says then is a time.
        known.session.to_server = [0; 32];
        let nonces = Nonces { origin: [199; 8], unique: [199; 32], cipher: [199; 16] };
        let asked = ask_secured(0, (host(1), PORT).into(), &mut known.session, &nonces, EARLY_S).await;
        assert_eq!(asked, Asked::Forgotten);
        let early = Trust { now_s: EARLY_S, ..trust };
        let refused = establish("time.example", (host(1), establish::PORT).into(), &early).await;
        assert!(refused.is_err(), "a clock that was set is not early");
        Ok(())
    })
}

/// Until chronyd tells the time.
fn wait_for_time(server: IpAddr) -> Result<()> {
    block_on(async {
        for count in 0..600_u32 {
            let nonce = (u64::from(count) + 1).to_ne_bytes();
            if matches!(ask(0, (server, PORT).into(), nonce, EARLY_S).await, Asked::Sample(_)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("chronyd does not answer")
    })
}

/// Until chronyd answers where keys are established.
fn wait_for_keys() -> Result<()> {
    for _ in 0..600 {
        if TcpStream::connect((host(1), establish::PORT)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("chronyd does not listen")
}

#[test]
fn servers_of_dhcp_are_asked_when_none_is_configured() -> Result<()> {
    network_of_our_own()?;
    let folder = TempDir::new()?;
    let _server = Chronyd::start(folder.path(), host(1))?;
    let clock = Model::wrong(-500 * DAY_S);
    let (mut site, inputs, outputs) = site(Vec::new(), now_s()? - 900 * DAY_S);
    block_on(beside(inputs, &outputs, &clock, async {
        site.net.send_replace(link_up());
        site.state.wait_for(|state| state.problem == Some(Problem::NoServer)).await?;
        site.net.send_replace(NetState { time_servers: vec![Ipv4Addr::LOCALHOST], ..link_up() });
        site.state.wait_for(|state| state.source == Source::Network).await?;
        Ok(())
    }))
}

/// Finds `time.example` only when it is told that there is somebody to ask.
struct LateNames(watch::Receiver<bool>);

impl Lookup for LateNames {
    fn lookup<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Vec<IpAddr>> + 'a>> {
        match *self.0.borrow() {
            true => Names.lookup(name),
            false => Box::pin(async { Vec::new() }),
        }
    }
}

#[test]
fn servers_by_name_are_asked_as_soon_as_there_is_a_name_server() -> Result<()> {
    network_of_our_own()?;
    let folder = TempDir::new()?;
    let _server = Chronyd::start(folder.path(), host(1))?;
    let mut clock = Model::wrong(-500 * DAY_S);
    let servers = vec![Server::Name("another.example".into())];
    let (mut site, inputs, outputs) = site(servers, now_s()? - 900 * DAY_S);
    let (answers, answering) = watch::channel(false);
    let names = LateNames(answering);
    block_on(async {
        let story = async {
            site.net.send_replace(link_up());
            site.state.wait_for(|state| state.problem == Some(Problem::Servers(Why::NoAnswer))).await?;
            answers.send_replace(true);
            site.net.send_replace(NetState { name_servers: vec![host(1)], ..link_up() });
            site.state.wait_for(|state| state.source == Source::Network).await?;
            Ok(())
        };
        tokio::select! {
            ended = run(inputs, &outputs, &mut clock, &names) => {
                ended?;
                anyhow::bail!("the part ended by itself")
            }
            told = story => told,
        }
    })
}

#[test]
fn clock_before_the_floor_is_set_to_it_without_any_server() -> Result<()> {
    network_of_our_own()?;
    let built_s = now_s()? - 400 * DAY_S;
    let clock = Model::wrong(-500 * DAY_S);
    let (mut site, inputs, outputs) = site(Vec::new(), built_s);
    block_on(beside(inputs, &outputs, &clock, async {
        site.state.wait_for(|state| state.source == Source::Floor).await?;
        assert_eq!(clock.0.borrow().wrong_ns / SECOND / DAY_S, -400);
        assert!(!clock.is_synchronised());
        site.floor_s.send_replace(built_s + 100 * DAY_S);
        site.settings.send_replace(Settings {
            servers: vec![Server::Name("nowhere.example".into())],
            nts: Vec::new(),
        });
        site.state.wait_for(|state| state.problem.is_some()).await?;
        while clock.0.borrow().steps < 2 {
            site.state.changed().await?;
        }
        assert_eq!(clock.0.borrow().wrong_ns / SECOND / DAY_S, -300);
        site.net.send_replace(link_up());
        site.state.wait_for(|state| state.problem == Some(Problem::Servers(Why::NoAnswer))).await?;
        Ok(())
    }))
}

#[test]
fn hostile_answers_are_no_time() -> Result<()> {
    network_of_our_own()?;
    let garbage = |_: &[u8]| (0..40).map(|length| vec![0xff_u8; length]).collect::<Vec<_>>();
    let huge = |question: &[u8]| {
        let mut long = answer(question, 0, 2, [0; 4]);
        long[24] ^= 1;
        long.resize(60_000, 0x41);
        vec![long; 40]
    };
    let mirror = |question: &[u8]| vec![question.to_vec(); 40];
    let stale = |question: &[u8]| {
        let mut other = answer(question, 0, 2, [0; 4]);
        other[24..32].fill(0);
        vec![other; 40]
    };
    let forged_kiss = |question: &[u8]| {
        let mut kiss = answer(question, 0, 0, *b"DENY");
        kiss[24] ^= 1;
        vec![kiss; 40]
    };
    block_on(async {
        for (number, hostile) in
            (1..).zip([&garbage as &dyn Fn(&[u8]) -> Vec<Vec<u8>>, &huge, &mirror, &stale, &forged_kiss])
        {
            assert_eq!(asked(host(number), hostile).await?, Asked::Nothing, "{number}");
        }
        // The controls: the same server, when it means it.
        assert_eq!(asked(host(8), &|question| vec![answer(question, 0, 0, *b"DENY")]).await?, Asked::Deny);
        assert_eq!(asked(host(8), &|question| vec![answer(question, 0, 0, *b"RATE")]).await?, Asked::Slower);
        let after_garbage = |question: &[u8]| vec![vec![7; 3], answer(question, 0, 2, [0; 4])];
        assert!(matches!(asked(host(8), &after_garbage).await?, Asked::Sample(_)));
        Ok(())
    })
}

/// What asking a server that answers like that comes to.
async fn asked(address: IpAddr, answers: &dyn Fn(&[u8]) -> Vec<Vec<u8>>) -> Result<Asked> {
    let server = UdpSocket::bind((address, PORT)).await?;
    let floor_s = now_s()? - DAY_S;
    tokio::select! {
        ended = serve(&server, answers) => ended,
        asked = ask(0, SocketAddr::from((address, PORT)), *b"somebits", floor_s) => Ok(asked),
    }
}

async fn serve<T>(server: &UdpSocket, answers: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> Result<T> {
    let mut question = [0; 100];
    loop {
        let (length, from) = server.recv_from(&mut question).await?;
        for answer in answers(&question[..length]) {
            // Whoever asked may have had enough.
            let _ = server.send_to(&answer, from).await;
        }
    }
}

/// A good answer of this machine's time and some.
fn answer(question: &[u8], ahead_ns: i64, stratum: u8, reference: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    bytes[0] = 4 << 3 | 4;
    bytes[1] = stratum;
    bytes[12..16].copy_from_slice(&reference);
    bytes[24..32].copy_from_slice(&question[40..48]);
    let unix_ns = sys::time::clock::realtime_ns().unwrap_or_default() + ahead_ns;
    let seconds = (unix_ns / SECOND + 2_208_988_800) & 0xffff_ffff;
    let fraction = ((unix_ns % SECOND) << 32) / SECOND;
    for at in [32, 40] {
        bytes[at..at + 8].copy_from_slice(&(seconds << 32 | fraction).to_be_bytes());
    }
    bytes
}
