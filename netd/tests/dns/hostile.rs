//! A server, or somebody on the way to one, that does what it likes: what an app is told in the end is an answer, and
//! nothing that was not said by the server it was asked of.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use netd::dns::Settings;
use netd::dns::transport::Transport;
use simple_dns::{RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::app::{App, with_app};
use super::site::alone;

pub(super) const SERVER: ([u8; 4], u16) = ([127, 0, 0, 1], 5300);
const GOOD: [u8; 4] = [192, 0, 2, 1];
const FORGED: [u8; 4] = [192, 0, 2, 66];
const HEADER: usize = 12;

/// Forgeries come before the server's own answer: they are passed over.
const FORGERIES: [&str; 6] = ["id", "question", "kind", "source", "nonsense", "query"];
/// What never is an answer.
const NEVER: [&str; 15] = [
    "silent", "forger", "flood", "round", "chain", "itself", "forward", "counts", "cut", "drip", "long",
    "closed", "servfail", "refused", "swapped",
];

/// An answer to this question with so many records.
fn answer(query: &[u8], address: [u8; 4], id: u16) -> Vec<u8> {
    let mut bytes = bare(query, id, 1);
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    bytes.extend(address);
    bytes
}

fn bare(query: &[u8], id: u16, records: u16) -> Vec<u8> {
    let mut bytes = [&id.to_be_bytes()[..], &[0x81, 0x80, 0, 1], &records.to_be_bytes(), &[0; 4]].concat();
    bytes.extend(&query[HEADER..end_of_question(query)]);
    bytes
}

fn end_of_question(query: &[u8]) -> usize {
    let mut at = HEADER;
    while query[at] != 0 {
        at += 1 + usize::from(query[at]);
    }
    at + 5
}

fn first_label(query: &[u8]) -> String {
    let label = &query[HEADER + 1..=HEADER + usize::from(query[HEADER])];
    String::from_utf8_lossy(label).into_owned()
}

/// A record that says that `from` is another name of `to`, both as bytes.
fn alias(from: &[u8], to: &[u8]) -> Vec<u8> {
    let length = u16::try_from(to.len()).unwrap().to_be_bytes();
    [from, &[0, 5, 0, 1, 0, 0, 0, 60], &length, to].concat()
}

/// What the server sends over UDP, each with whether it comes from where it was asked.
fn said(query: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let id = u16::from_be_bytes([query[0], query[1]]);
    let (own, forged) = (answer(query, GOOD, id), answer(query, FORGED, id));
    let with = |at: usize, value: u8| {
        let mut bytes = forged.clone();
        bytes[at] = value;
        bytes
    };
    let here = |bytes: Vec<u8>| (bytes, true);
    let flagged = |flags: [u8; 2]| {
        let mut bytes = bare(query, id, 0);
        bytes[2..4].copy_from_slice(&flags);
        bytes
    };
    let end = end_of_question(query);
    match &*first_label(query) {
        "id" => vec![here(answer(query, FORGED, !id)), here(own)],
        "question" => vec![here(with(HEADER + 1, b'x')), here(own)],
        "kind" => vec![here(with(end - 3, 28)), here(own)],
        "source" => vec![(forged, false), here(own)],
        "nonsense" => vec![here(Vec::new()), here(vec![0xff; 4000]), here(own)],
        "query" => vec![here(with(2, 1)), here(own)],
        "forger" => vec![here(answer(query, FORGED, !id)), (forged, false)],
        "flood" => (0..200).map(|n| here(answer(query, FORGED, id ^ (n + 1)))).collect(),
        "round" => {
            let there = [&[1, b'a'][..], &[0xc0, 12]].concat();
            let mut bytes = bare(query, id, 2);
            bytes.extend(alias(&[0xc0, 12], &there));
            bytes.extend(alias(&there, &[0xc0, 12]));
            vec![here(bytes)]
        }
        "chain" => {
            let name = |n: u8| [1, n, 0xc0, 12];
            let mut bytes = bare(query, id, 61);
            bytes.extend(alias(&[0xc0, 12], &name(1)));
            (1..60).for_each(|n| bytes.extend(alias(&name(n), &name(n + 1))));
            bytes.extend(name(60));
            bytes.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            bytes.extend(FORGED);
            vec![here(bytes)]
        }
        // A name that points to itself, and one that points to what comes later.
        "itself" | "forward" => {
            let mut bytes = bare(query, id, 1);
            let at = u8::try_from(bytes.len()).unwrap() + if first_label(query) == "itself" { 0 } else { 2 };
            bytes.extend([0xc0, at, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            bytes.extend(FORGED);
            vec![here(bytes)]
        }
        "counts" => {
            let mut bytes = forged;
            bytes[6..12].fill(0xff);
            vec![here(bytes)]
        }
        "cut" | "drip" | "long" | "closed" | "swapped" => vec![here(flagged([0x83, 0x80]))],
        "servfail" => vec![here(flagged([0x81, 0x82]))],
        "refused" => vec![here(flagged([0x81, 0x85]))],
        "good" => vec![here(own)],
        _ => Vec::new(),
    }
}

/// What it does over TCP, where it was asked to come again.
async fn over_tcp(mut stream: TcpStream) -> std::io::Result<()> {
    let mut query = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut query).await?;
    let id = u16::from_be_bytes([query[0], query[1]]);
    match &*first_label(&query) {
        "drip" => {
            stream.write_u16(600).await?;
            loop {
                stream.write_u8(0).await?;
                sleep(Duration::from_millis(100)).await;
            }
        }
        "long" => {
            stream.write_u16(u16::MAX).await?;
            stream.write_all(&vec![0; u16::MAX.into()]).await
        }
        "swapped" => {
            let other = answer(&query, FORGED, !id);
            stream.write_u16(other.len() as u16).await?;
            stream.write_all(&other).await
        }
        "closed" => Ok(()),
        // Cut again, and for ever.
        _ => {
            let mut cut = bare(&query, id, 0);
            cut[2] |= 2;
            stream.write_u16(cut.len() as u16).await?;
            stream.write_all(&cut).await
        }
    }
}

/// Serves for ever.
async fn serve(udp: UdpSocket, elsewhere: UdpSocket, tcp: TcpListener) {
    spawn_local(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            spawn_local(over_tcp(stream));
        }
    });
    let mut bytes = [0; 2048];
    while let Ok((length, from)) = udp.recv_from(&mut bytes).await {
        for (message, is_here) in said(&bytes[..length]) {
            let socket = if is_here { &udp } else { &elsewhere };
            let _ = socket.send_to(&message, from).await;
        }
    }
}

/// Serves at [`SERVER`].
async fn begin() -> Result<()> {
    let server = SocketAddr::from(SERVER);
    let udp = UdpSocket::bind(server).await?;
    let elsewhere = UdpSocket::bind("127.0.0.2:5300").await?;
    spawn_local(serve(udp, elsewhere, TcpListener::bind(server).await?));
    Ok(())
}

fn settings() -> Settings {
    Settings { servers: vec![SERVER.into()], transport: Transport::Plain }
}

fn names(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| format!("{label}.example")).collect()
}

#[test]
fn forgeries_are_passed_over_and_the_servers_own_answer_is_taken() -> Result<()> {
    alone()?;
    let names = names(&FORGERIES);
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let asked = &hosts;
    with_app(&hosts, &[], settings(), |app| async move {
        begin().await?;
        for name in asked {
            let reply = app.a(name).await?;
            assert!(reply.has(&["192.0.2.1"]), "{name}: {reply:?}");
        }
        Ok(())
    })
}

#[test]
fn what_never_is_an_answer_ends_as_a_failure_and_leaves_the_resolver_whole() -> Result<()> {
    alone()?;
    let names = names(&[&NEVER[..], &["good"]].concat());
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let names = &names;
    with_app(&hosts, &[], settings(), |app| async move {
        begin().await?;
        let asking = |name: String, app: Rc<App>| async move { (app.a(&name).await, name) };
        let all: Vec<_> =
            names[..NEVER.len()].iter().map(|name| spawn_local(asking(name.clone(), app.clone()))).collect();
        for one in all {
            let (reply, name) = one.await?;
            let reply = reply?;
            assert!(
                reply.fails(RCODE::ServerFailure, reply.because.as_ref().unwrap().0, "127.0.0.1:5300"),
                "{name}: {reply:?}"
            );
        }
        assert!(app.a("good.example").await?.has(&["192.0.2.1"]));
        Ok(())
    })
}

#[test]
fn app_that_asks_for_too_much_at_once_is_told_so_and_no_other_waits() -> Result<()> {
    alone()?;
    let labels: Vec<String> = (0..40).map(|n| format!("x{n}.example")).collect();
    let hosts: Vec<&str> = labels.iter().map(String::as_str).chain(["good.example"]).collect();
    let labels = &labels;
    with_app(&hosts, &[], settings(), |app| async move {
        begin().await?;
        let asking = |name: String, app: Rc<App>| async move { app.ask(&name, TYPE::A).await };
        let all: Vec<_> = labels.iter().map(|name| spawn_local(asking(name.clone(), app.clone()))).collect();
        let mut too_many = 0;
        for one in all {
            let reply = one.await??;
            assert_eq!(reply.code, RCODE::ServerFailure);
            too_many += usize::from(reply.fails(RCODE::ServerFailure, 0, "too many"));
        }
        assert_eq!(too_many, 24, "16 at once");
        assert!(app.a("good.example").await?.has(&["192.0.2.1"]), "its turns came back");
        Ok(())
    })
}
