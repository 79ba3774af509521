//! The daemon without its service for sixty days, on a clock of the test's: it asks now and then, as often on the last day as
//! on any other, and neither gives up nor hurries.

use std::net::{Ipv4Addr, TcpListener};

use tokio::task::LocalSet;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const DAYS: u64 = 60;
const CA: &str = include_str!("../testdata/ca.pem");

fn settings(port: u16) -> String {
    format!("url = \"https://127.0.0.1:{port}\"\nca = \"\"\"\n{CA}\"\"\"\n")
}

/// All that it has said.
fn said(from: &OwnedFd) -> Vec<String> {
    let mut lines = Vec::new();
    while let Ok(Some((bytes, _))) = sys::channel::receive(from) {
        if let Some(FromAttestd::Say(text)) = FromAttestd::decode(&bytes) {
            lines.push(text);
        }
    }
    lines
}

/// How many have come, each of which is gone now.
fn came(listener: &TcpListener) -> usize {
    std::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn device_that_is_away_for_sixty_days_asks_on_the_last_as_on_the_first() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (theirs, ours) = sys::channel::pair().unwrap();
    let (asked, lines) = LocalSet::new().block_on(&runtime, async {
        // A TPM that is not there is asked for nothing: it never comes so far.
        let identity = Identity::behind(|| Err(std::io::ErrorKind::NotFound.into()));
        let state = Rc::new(State::new(Link::new(theirs).unwrap(), identity));
        let running = spawn_local(state.clone().rounds());
        let told =
            [ToAttestd::Sync, ToAttestd::Service(settings(port), Ipv4Addr::LOCALHOST), ToAttestd::SyncEnd];
        told.into_iter().for_each(|message| state.take(message, Vec::new()));
        let (mut asked, mut lines) = (Vec::new(), Vec::new());
        for _ in 0..DAYS {
            let mut today = 0;
            for _ in 0..24 * 12 {
                sleep(DAY / (24 * 12)).await;
                today += came(&listener);
            }
            asked.push(today);
            lines.extend(said(&ours));
        }
        assert!(!running.is_finished());
        (asked, lines)
    });
    // After the first day every seven and a half to fifteen minutes, and the time that a try takes.
    for (day, count) in asked.iter().enumerate() {
        assert!((80..=230).contains(count), "{count} times on day {day}: {asked:?}");
    }
    // It says what is the matter, and says it again when that changes.
    assert!(lines.iter().all(|line| line.starts_with("no certificate: ")));
    assert!(lines.windows(2).all(|lines| lines[0] != lines[1]));
}
