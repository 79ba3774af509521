//! dnsmasq and unbound: the same names, and the same answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use netd::dns::transport::Transport;
use netd::dns::{Event, Settings};
use netd::state::{Link, NetState};
use simple_dns::{Packet, PacketFlag, RCODE, TYPE};

use super::app::{App, exchange, question, with_app};
use super::site::{SERVER, Site};

const NAMES: &[(&str, &[&str])] = &[
    ("plain.example", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
    ("four.example", &["192.0.2.4"]),
    ("end.example", &["192.0.2.3"]),
    ("middle.example", &["end.example"]),
    ("alias.example", &["middle.example"]),
    ("other.example", &["192.0.2.66"]),
    ("inner.example", &["10.1.2.3", "fd00::1"]),
    ("home.example", &["10.1.2.4", "127.0.0.1", "203.0.113.9"]),
    ("mixed.example", &["10.1.2.3", "192.0.2.5"]),
    ("device.example", &["127.0.0.1", "203.0.113.9", "::1", "::ffff:10.1.2.3"]),
];
const ASKED: [&str; 8] = [
    "plain.example",
    "four.example",
    "alias.example",
    "inner.example",
    "mixed.example",
    "device.example",
    "absent.example",
    "many.example",
];

#[derive(Clone, Copy)]
enum Program {
    Dnsmasq,
    Unbound,
}

impl Program {
    fn serve(self, site: &mut Site, names: &[(&str, &[&str])]) -> Result<()> {
        match self {
            Self::Dnsmasq => site.dnsmasq(names),
            Self::Unbound => site.unbound(names),
        }
    }
}

fn settings() -> Settings {
    Settings { servers: vec![SocketAddr::new(SERVER, 53)], transport: Transport::Plain }
}

/// The device has a public address, beside the private one of its cable.
fn net() -> NetState {
    let link = Link {
        index: 2,
        name: "cable".to_owned(),
        hardware_address: None,
        loopback: false,
        up: true,
        addresses: vec![("203.0.113.9".parse().unwrap(), 24)],
        gateways: Vec::new(),
        missing: None,
    };
    NetState { links: vec![link], ..NetState::default() }
}

/// Time passes, and nobody waits for it.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

fn names_of_the_manifest_are_answered(program: Program) -> Result<()> {
    let mut site = Site::new()?;
    let many: Vec<String> = (1..=200).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    program.serve(&mut site, &[NAMES, &[("many.example", &many)]].concat())?;
    with_app(&ASKED, &["home.example"], settings(), |app| async move {
        app.net.send_replace(net());
        let plain = app.ask("Plain.eXample", TYPE::A).await?;
        assert!(plain.has(&["192.0.2.1", "192.0.2.2"]) && plain.ttl_s <= 60, "{plain:?}");
        let six = app.ask("plain.example", TYPE::AAAA).await?;
        assert!(six.has(&["2001:db8::1"]), "{six:?}");
        let aliased = app.a("alias.example").await?;
        assert!(aliased.has(&["192.0.2.3"]), "{aliased:?}");
        let nothing = app.ask("four.example", TYPE::AAAA).await?;
        assert!(nothing.has(&[]), "{nothing:?}");
        assert_eq!(app.a("absent.example").await?.code, RCODE::NameError);
        let by_tcp = app.ask_by_tcp("plain.example", TYPE::A).await?;
        assert!(by_tcp.has(&["192.0.2.1", "192.0.2.2"]), "{by_tcp:?}");
        // The control: by UDP it is cut.
        let cut = exchange(SocketAddr::new(SERVER, 53), &question(3, "many.example", TYPE::A, true)).await?;
        assert!(Packet::parse(&cut)?.has_flags(PacketFlag::TRUNCATION));
        assert_eq!(app.a("many.example").await?.addresses.len(), 16);
        no_other_name_leaves(&app).await?;
        nothing_leads_into_the_device(&app).await
    })
}

async fn no_other_name_leaves(app: &App) -> Result<()> {
    for name in ["other.example", "x.plain.example", "example", "end.example", "secret.data.attacker.example"]
    {
        let refused = app.a(name).await?;
        let line = format!("connect = [\"{name}:PORT/tcp\"]");
        assert!(refused.fails(RCODE::Refused, 18, &line), "{name}: {refused:?}");
        let heard = Event::NotListed { uid: 10_001, host: name.to_owned() };
        assert!(app.events.borrow_mut().contains(&heard), "{name}");
    }
    // What is no address is answered for a name that is granted, and carries nothing.
    assert!(app.ask("plain.example", TYPE::TXT).await?.has(&[]));
    Ok(())
}

async fn nothing_leads_into_the_device(app: &App) -> Result<()> {
    let private = app.a("inner.example").await?;
    assert!(private.fails(RCODE::ServerFailure, 15, "private = [\"inner.example\"]"), "{private:?}");
    let private = app.ask("inner.example", TYPE::AAAA).await?;
    assert!(private.fails(RCODE::ServerFailure, 15, "private = [\"inner.example\"]"), "{private:?}");
    assert!(app.a("mixed.example").await?.has(&["192.0.2.5"]));
    assert!(app.a("home.example").await?.has(&["10.1.2.4"]), "not the loopback nor the device's own");
    for kind in [TYPE::A, TYPE::AAAA] {
        let never = app.ask("device.example", kind).await?;
        assert!(never.fails(RCODE::ServerFailure, 15, "no name may lead"), "{never:?}");
    }
    Ok(())
}

#[test]
fn names_of_the_manifest_are_answered_and_no_others_with_dnsmasq() -> Result<()> {
    names_of_the_manifest_are_answered(Program::Dnsmasq)
}

#[test]
fn names_of_the_manifest_are_answered_and_no_others_with_unbound() -> Result<()> {
    names_of_the_manifest_are_answered(Program::Unbound)
}

fn what_was_heard_is_kept_for_its_time(program: Program) -> Result<()> {
    let mut site = Site::new()?;
    program.serve(&mut site, NAMES)?;
    with_app(&ASKED, &[], settings(), |app| async move {
        assert!(app.a("four.example").await?.has(&["192.0.2.4"]));
        assert!(app.ask("four.example", TYPE::AAAA).await?.has(&[]));
        assert_eq!(app.a("absent.example").await?.code, RCODE::NameError);
        site.end_server();
        // Nobody is there to be asked: this is what was kept.
        later(20).await;
        assert!(app.a("four.example").await?.has(&["192.0.2.4"]));
        assert!(app.ask("four.example", TYPE::AAAA).await?.has(&[]));
        assert_eq!(app.a("absent.example").await?.code, RCODE::NameError);
        let unknown = app.a("plain.example").await?;
        assert!(unknown.fails(RCODE::ServerFailure, 23, "10.9.0.1:53: connection refused"), "{unknown:?}");
        assert!(matches!(*app.resolver.health().borrow(), Some(Err(_))));
        // What was not there is asked for again after half a minute, what was after its own minute.
        later(15).await;
        assert_eq!(app.a("absent.example").await?.code, RCODE::ServerFailure);
        assert_eq!(app.ask("four.example", TYPE::AAAA).await?.code, RCODE::ServerFailure);
        assert!(app.a("four.example").await?.has(&["192.0.2.4"]));
        later(30).await;
        assert_eq!(app.a("four.example").await?.code, RCODE::ServerFailure);
        // The same server again, with another address; that it failed holds for a second.
        program.serve(&mut site, &[("plain.example", &["192.0.2.1"]), ("four.example", &["192.0.2.44"])])?;
        later(2).await;
        assert!(app.a("four.example").await?.has(&["192.0.2.44"]));
        assert!(app.a("plain.example").await?.has(&["192.0.2.1"]));
        assert_eq!(*app.resolver.health().borrow(), Some(Ok(())));
        Ok(())
    })
}

#[test]
fn what_was_heard_is_kept_for_its_time_and_a_restarted_dnsmasq_is_asked_again() -> Result<()> {
    what_was_heard_is_kept_for_its_time(Program::Dnsmasq)
}

#[test]
fn what_was_heard_is_kept_for_its_time_and_a_restarted_unbound_is_asked_again() -> Result<()> {
    what_was_heard_is_kept_for_its_time(Program::Unbound)
}
