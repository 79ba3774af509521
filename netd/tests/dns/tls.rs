//! DNS over TLS with unbound: by the right name and authority, and not otherwise; before the clock is set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use netd::dns::transport::Transport;
use netd::dns::{Kind, Settings};
use netd::names::Names;
use netd::time::{Lookup, Source, TimeState};
use simple_dns::RCODE;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::time_provider::TimeProvider;

use super::app::with_app;
use super::site::{CERTIFICATES, SERVER, Site, alone};

const NAMES: &[(&str, &[&str])] = &[
    ("plain.example", &["192.0.2.1"]),
    ("other.example", &["192.0.2.2"]),
    ("pool.example", &["192.0.2.123"]),
];

/// A clock that stands still, seconds since 1970.
#[derive(Debug)]
struct Still(u64);

impl TimeProvider for Still {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// 2025-07-01, before the certificate of the tests, and a day in 2027.
const EARLY: Still = Still(1_751_328_000);
const NOW: Still = Still(1_800_000_000);
/// 2200: after it.
const LATE: Still = Still(7_258_118_400);

fn roots() -> Result<String> {
    Ok(std::fs::read_to_string(format!("{CERTIFICATES}/ca.pem"))?)
}

fn settings(name: &str, roots: Option<&str>, clock: Still) -> Result<Settings> {
    let transport = Transport::tls_by(name, roots, Arc::new(clock)).map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(Settings { servers: vec![SocketAddr::new(SERVER, 853)], transport })
}

#[test]
fn names_are_asked_by_tls_and_again_of_a_server_that_was_restarted() -> Result<()> {
    let mut site = Site::new()?;
    site.unbound(NAMES)?;
    let settings = settings("time.example", Some(&roots()?), NOW)?;
    with_app(&["plain.example", "other.example", "absent.example"], &[], settings, |app| async move {
        assert!(app.a("plain.example").await?.has(&["192.0.2.1"]));
        assert_eq!(app.a("absent.example").await?.code, RCODE::NameError);
        // The connection that was kept is gone.
        site.unbound(NAMES)?;
        let reply = app.a("other.example").await?;
        assert!(reply.has(&["192.0.2.2"]), "{reply:?}");
        site.end_server();
        Ok(())
    })
}

#[test]
fn server_with_another_name_or_authority_or_time_is_refused_with_a_reason() -> Result<()> {
    let mut site = Site::new()?;
    site.unbound(NAMES)?;
    let roots = roots()?;
    let good = settings("time.example", Some(&roots), NOW)?;
    with_app(&["plain.example"], &[], good.clone(), |app| async move {
        for (settings, why) in [
            (settings("dns.example", Some(&roots), NOW)?, "not valid for name"),
            (settings("time.example", None, NOW)?, "UnknownIssuer"),
            (settings("time.example", Some(&roots), EARLY)?, "not valid yet"),
            (settings("time.example", Some(&roots), LATE)?, "expired"),
        ] {
            app.settings.send_replace(settings);
            let reply = app.a("plain.example").await?;
            assert!(reply.fails(RCODE::ServerFailure, 23, why), "{why}: {reply:?}");
        }
        app.settings.send_replace(good);
        assert!(app.a("plain.example").await?.has(&["192.0.2.1"]));
        Ok(())
    })
}

/// The servers that would set the clock are named, and names are asked by TLS, whose certificates need a clock.
#[test]
fn names_of_time_servers_are_found_before_the_clock_is_set_and_told_to_no_app() -> Result<()> {
    let mut site = Site::new()?;
    site.unbound(NAMES)?;
    let roots = roots()?;
    let early = settings("time.example", Some(&roots), EARLY)?;
    with_app(&["pool.example"], &[], early, |app| async move {
        assert!(app.resolver.lookup("pool.example", Kind::A).await.is_empty());
        let found = app.resolver.lookup_early("pool.example", Kind::A).await;
        assert_eq!(found, ["192.0.2.123".parse::<std::net::IpAddr>()?]);
        assert_eq!(*app.resolver.health().borrow(), Some(Ok(())));
        // Neither the answer nor the connection is there for an app.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3)).await;
        tokio::time::resume();
        let reply = app.a("pool.example").await?;
        assert!(reply.fails(RCODE::ServerFailure, 23, "not valid yet"), "{reply:?}");
        // The part that keeps the time asks so until it has it.
        let time = watch::Sender::new(TimeState::default());
        let names = Names { resolver: app.resolver.clone(), time: time.subscribe() };
        assert_eq!(names.lookup("pool.example").await, found);
        time.send_modify(|state| state.source = Source::Network);
        assert!(names.lookup("pool.example").await.is_empty());
        // A clock that is early forgives no other fault, and none that is late.
        for settings in [
            settings("dns.example", Some(&roots), EARLY)?,
            settings("time.example", None, EARLY)?,
            settings("time.example", Some(&roots), LATE)?,
        ] {
            app.settings.send_replace(settings);
            assert!(app.resolver.lookup_early("pool.example", Kind::A).await.is_empty());
            assert!(matches!(*app.resolver.health().borrow(), Some(Err(_))), "whoever asks why is told");
        }
        Ok(())
    })
}

#[test]
fn nothing_is_asked_plainly_where_tls_is_configured() -> Result<()> {
    alone()?;
    let mut settings = settings("time.example", Some(&roots()?), NOW)?;
    let server = SocketAddr::from(([127, 0, 0, 1], 5300));
    settings.servers = vec![server];
    with_app(&["plain.example"], &[], settings, |app| async move {
        let plain = UdpSocket::bind(server).await?;
        let stream = tokio::net::TcpListener::bind(server).await?;
        let speaks_no_tls = async {
            loop {
                let (mut stream, _) = stream.accept().await?;
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 hello\r\n").await?;
            }
        };
        let reply = tokio::select! {
            reply = app.a("plain.example") => reply?,
            ended = speaks_no_tls => { let ended: Result<()> = ended; ended?; return Ok(()) }
        };
        assert!(reply.fails(RCODE::ServerFailure, 23, "no answer"), "{reply:?}");
        assert!(plain.try_recv(&mut [0; 512]).is_err(), "it was asked plainly");
        Ok(())
    })
}
