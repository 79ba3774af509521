//! Servers that change while they are asked.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use anyhow::Result;
use netd::dns::Settings;
use netd::dns::transport::Transport;
use netd::state::{Link, NetState};
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, RCODE, ResourceRecord};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::app::{PATIENCE, with_app};
use super::site::{SERVER, Site, alone};

/// A server that says for every name that it is at 192.0.2.`last`, when it is told to; which tells how many asked.
async fn says(at: SocketAddr, last: u8, now: Rc<Notify>, asked: Rc<Notify>) -> Result<()> {
    let socket = UdpSocket::bind(at).await?;
    spawn_local(async move {
        let mut bytes = [0; 1024];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            asked.notify_one();
            now.notified().await;
            let query = Packet::parse(&bytes[..length]).unwrap();
            let questions = query.questions.clone();
            let mut reply = query.into_reply();
            let address = RData::A(A::from(std::net::Ipv4Addr::new(192, 0, 2, last)));
            reply.answers.push(ResourceRecord::new(questions[0].qname.clone(), CLASS::IN, 60, address));
            reply.questions = questions;
            let _ = socket.send_to(&reply.build_bytes_vec().unwrap(), from).await;
        }
    });
    Ok(())
}

fn settings(port: u16) -> Settings {
    Settings { servers: vec![([127, 0, 0, 1], port).into()], transport: Transport::Plain }
}

/// The former server answers after others were configured: neither who waits for it nor the cache hears of that.
#[test]
fn answer_of_a_former_server_is_told_to_nobody_and_not_kept() -> Result<()> {
    alone()?;
    with_app(&["a.example"], &[], settings(5301), |app| async move {
        let (slow, quick) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (slow_asked, quick_asked) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        says(([127, 0, 0, 1], 5301).into(), 66, slow.clone(), slow_asked.clone()).await?;
        says(([127, 0, 0, 1], 5302).into(), 2, quick.clone(), quick_asked.clone()).await?;
        let asking = app.clone();
        let waiting = spawn_local(async move { asking.a("a.example").await });
        timeout(PATIENCE, slow_asked.notified()).await?;
        app.settings.send_replace(settings(5302));
        slow.notify_one();
        // The question goes to the new server by itself.
        timeout(PATIENCE, quick_asked.notified()).await?;
        quick.notify_one();
        let reply = waiting.await??;
        assert!(reply.has(&["192.0.2.2"]), "{reply:?}");
        assert!(app.a("a.example").await?.has(&["192.0.2.2"]), "from the cache");
        Ok(())
    })
}

#[test]
fn names_that_former_servers_said_are_forgotten_when_a_link_names_others() -> Result<()> {
    let mut site = Site::new()?;
    site.dnsmasq(&[("a.example", &["192.0.2.1"])])?;
    let by_links = Settings { servers: Vec::new(), transport: Transport::Plain };
    with_app(&["a.example"], &[], by_links, |app| async move {
        let name = |server: IpAddr| {
            app.net.send_replace(NetState { name_servers: vec![server], ..NetState::default() });
        };
        let unknown = app.a("a.example").await?;
        assert!(unknown.fails(RCODE::ServerFailure, 14, "no name server is known"), "{unknown:?}");
        name(SERVER);
        assert!(app.a("a.example").await?.has(&["192.0.2.1"]));
        name([10, 9, 0, 2].into());
        let gone = app.a("a.example").await?;
        assert!(gone.fails(RCODE::ServerFailure, 23, "10.9.0.2:53"), "{gone:?}");
        site.dnsmasq(&[("a.example", &["192.0.2.2"])])?;
        name(SERVER);
        assert!(app.a("a.example").await?.has(&["192.0.2.2"]), "not what it said before");
        Ok(())
    })
}

/// Two networks that have a server at the same address, as those of most homes have.
#[test]
fn names_of_one_network_are_forgotten_in_another_with_a_server_at_the_same_address() -> Result<()> {
    let mut site = Site::new()?;
    site.dnsmasq(&[("a.example", &["192.0.2.1"])])?;
    let by_links = Settings { servers: Vec::new(), transport: Transport::Plain };
    with_app(&["a.example"], &[], by_links, |app| async move {
        let on = |up: bool, address: [u8; 4]| {
            let link = Link {
                index: 2,
                name: "cable".to_owned(),
                hardware_address: None,
                loopback: false,
                up,
                addresses: vec![(address.into(), 24)],
                gateways: vec![SERVER],
                missing: None,
            };
            app.net.send_replace(NetState {
                links: vec![link],
                name_servers: vec![SERVER],
                ..NetState::default()
            });
        };
        on(true, [10, 9, 0, 9]);
        assert!(app.a("a.example").await?.has(&["192.0.2.1"]));
        site.dnsmasq(&[("a.example", &["192.0.2.2"])])?;
        assert!(app.a("a.example").await?.has(&["192.0.2.1"]), "the control: it is kept");
        on(true, [10, 9, 0, 10]);
        assert!(app.a("a.example").await?.has(&["192.0.2.2"]), "another address");
        site.dnsmasq(&[("a.example", &["192.0.2.3"])])?;
        on(false, [10, 9, 0, 10]);
        tokio::task::yield_now().await;
        on(true, [10, 9, 0, 10]);
        assert!(app.a("a.example").await?.has(&["192.0.2.3"]), "the cable was pulled");
        Ok(())
    })
}
