//! An app that asks, and the resolver that it asks.

use std::cell::RefCell;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netd::apps::{AppPolicy, Apps};
use netd::dns::{Event, Learn, Resolver, Settings, serve_tcp, serve_udp};
use netd::state::NetState;
use policy::Host;
use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

const UID: u32 = 10_001;
/// The name server of the box of [`UID`].
const AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 64, 35, 41)), 53);
/// Whatever takes as long does not end.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What was learnt before an answer went out.
#[derive(Clone, Default)]
pub(super) struct Learnt(Rc<RefCell<Vec<(String, IpAddr)>>>);

impl Learn for Learnt {
    fn learn(&self, uid: u32, host: &Host, addresses: &[IpAddr], ttl: Duration) -> Result<(), String> {
        assert!(uid == UID && !ttl.is_zero());
        self.0.borrow_mut().extend(addresses.iter().map(|address| (host.to_string(), *address)));
        Ok(())
    }
}

/// The app and those who play the other parts of netd.
pub(super) struct App {
    pub(super) settings: watch::Sender<Settings>,
    pub(super) net: watch::Sender<NetState>,
    pub(super) resolver: Rc<Resolver<Learnt>>,
    pub(super) events: Rc<RefCell<Vec<Event>>>,
    learnt: Learnt,
}

/// What it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: RCODE,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl_s: u32,
    /// The extended error.
    pub(super) because: Option<(u16, String)>,
}

/// Runs `scene` with an app whose manifest names `hosts`, and those of `private` as private.
pub(super) fn with_app<F: Future<Output = Result<()>>>(
    hosts: &[&str],
    private: &[&str],
    settings: Settings,
    scene: impl FnOnce(Rc<App>) -> F,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connect = hosts.iter().chain(private).map(|host| format!("{host}:443/tcp").parse());
    let policy = AppPolicy {
        uid: UID,
        id: "com.example.a".to_owned(),
        connect: connect.collect::<Result<_, _>>().map_err(|_| anyhow::anyhow!("a host"))?,
        listen: Vec::new(),
        private: private.iter().map(|host| host.parse().unwrap()).collect(),
    };
    LocalSet::new().block_on(&runtime, async {
        let (settings, net) = (watch::Sender::new(settings), watch::Sender::new(NetState::default()));
        let (learnt, events) = (Learnt::default(), Rc::new(RefCell::new(Vec::new())));
        let noted = events.clone();
        let note = Box::new(move |event| noted.borrow_mut().push(event));
        let resolver = Resolver::new(settings.subscribe(), net.subscribe(), learnt.clone(), note);
        let apps = Rc::new(RefCell::new(Apps::from([(UID, policy)])));
        spawn_local(serve_udp(resolver.clone(), apps.clone()));
        spawn_local(serve_tcp(resolver.clone(), apps));
        let follows = resolver.clone();
        spawn_local(async move { follows.follow().await });
        // Both have their port now.
        tokio::task::yield_now().await;
        scene(Rc::new(App { settings, net, resolver, events, learnt })).await
    })
}

impl App {
    /// Asks for IPv4 addresses.
    pub(super) async fn a(&self, name: &str) -> Result<Reply> {
        self.ask(name, TYPE::A).await
    }

    /// Asks with EDNS, and checks what holds of every answer.
    pub(super) async fn ask(&self, name: &str, kind: TYPE) -> Result<Reply> {
        let question = question(7, name, kind, true);
        let bytes = exchange(AT, &question).await?;
        self.checked(&question, &bytes)
    }

    /// The same over TCP.
    pub(super) async fn ask_by_tcp(&self, name: &str, kind: TYPE) -> Result<Reply> {
        let question = question(7, name, kind, true);
        let mut stream = TcpStream::connect(AT).await?;
        stream.write_u16(u16::try_from(question.len())?).await?;
        stream.write_all(&question).await?;
        let mut bytes = vec![0; timeout(PATIENCE, stream.read_u16()).await??.into()];
        stream.read_exact(&mut bytes).await?;
        self.checked(&question, &bytes)
    }

    fn checked(&self, question: &[u8], bytes: &[u8]) -> Result<Reply> {
        let asked = question.len() - 11;
        ensure!(bytes.get(12..asked) == question.get(12..asked), "another question: {bytes:?}");
        let reply = read(bytes)?;
        let learnt = self.learnt.0.borrow();
        let known =
            |address: &IpAddr| address.is_loopback() || learnt.iter().any(|(_, known)| known == address);
        ensure!(reply.addresses.iter().all(known), "an address that the firewall does not know: {reply:?}");
        Ok(reply)
    }
}

impl Reply {
    /// Whether these are the addresses, in whatever order.
    pub(super) fn has(&self, addresses: &[&str]) -> bool {
        let mut found: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        found.sort();
        self.code == RCODE::NoError && found == addresses
    }

    /// Whether it is this error with this text in its reason.
    pub(super) fn fails(&self, code: RCODE, number: u16, text: &str) -> bool {
        let because = self.because.as_ref();
        self.code == code
            && self.addresses.is_empty()
            && because.is_some_and(|(known, why)| *known == number && why.contains(text))
    }
}

/// A question, with EDNS or without.
pub(super) fn question(id: u16, name: &str, kind: TYPE, edns: bool) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new_unchecked(name);
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    if edns {
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 1232, version: 0 });
    }
    packet.build_bytes_vec().unwrap()
}

/// Asks somebody over UDP, once.
pub(super) async fn exchange(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut bytes = vec![0; 4096];
    let length = timeout(PATIENCE, socket.recv(&mut bytes)).await.context("no answer")??;
    bytes.truncate(length);
    Ok(bytes)
}

pub(super) fn read(bytes: &[u8]) -> Result<Reply> {
    let packet = Packet::parse(bytes)?;
    let address = |rdata: &RData<'_>| match rdata {
        RData::A(a) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
        RData::AAAA(aaaa) => Some(IpAddr::from(Ipv6Addr::from(aaaa.address))),
        _ => None,
    };
    let option = packet.opt().and_then(|opt| opt.opt_codes.iter().find(|option| option.code == 15));
    let because = option.and_then(|option| {
        let (code, text) = option.data.split_first_chunk()?;
        Some((u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned()))
    });
    Ok(Reply {
        code: packet.rcode(),
        addresses: packet.answers.iter().filter_map(|record| address(&record.rdata)).collect(),
        ttl_s: packet.answers.first().map_or(0, |record| record.ttl),
        because,
    })
}
