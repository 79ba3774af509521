//! A device, its service and a repository.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use service_api::updates::{Answer, Outcome, Stage, Window};
use service_api::{Few, Text};
use tokio::task::LocalSet;
use tokio::time::{Duration, Instant, sleep, timeout_at};
use update_test::Site;
use updated::daemon::Updated;

use super::board::Board;
use super::clock;
use super::releases::{self, System};
use super::server::Server;

/// See the module.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) server: Rc<Server>,
    pub(crate) board: Rc<Board>,
    pub(crate) systems: Vec<System>,
}

/// Runs `test`, on a clock that passes when nobody has anything to do.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).on_thread_park(clock::settle).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        clock::begin();
        test().await;
    });
}

/// What no device is meant to run anything by.
pub(crate) fn nothing() -> Answer {
    Answer {
        generation: 1,
        order: None,
        repository: Text::shown("updates"),
        releases: Few::default(),
        remove: Few::default(),
        windows: Few::default(),
        check_after_s: 3600,
        permit: Text::default(),
    }
}

pub(crate) fn paths(paths: &[String]) -> Few<Text<256>, 200> {
    Few::new(paths.iter().map(|path| Text::shown(path)).collect()).unwrap()
}

impl World {
    /// A device with the first of three systems, all published.
    pub(crate) async fn new() -> Self {
        Self::of(Site::new().unwrap()).await
    }

    /// The same for whoever has the kernel's clock.
    pub(crate) async fn now() -> Self {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        Self::of(Site::at(i64::try_from(now).unwrap()).unwrap()).await
    }

    async fn of(site: Site) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self::on(site, listener)
    }

    /// The same with the service on this socket.
    pub(crate) fn on(site: Site, listener: std::net::TcpListener) -> Self {
        let systems: Vec<System> = (1..=3).map(|n| System::new(n).unwrap()).collect();
        releases::publish(&site, &systems[1], &[&systems[0]], 0).unwrap();
        let IpAddr::V4(address) = listener.local_addr().unwrap().ip() else { panic!("an address of IPv4") };
        let server = Server::begin_on(site.path().to_owned(), nothing(), listener);
        let board = Board::new(&systems[0]);
        *board.systems.borrow_mut() = systems.clone();
        *board.trust.borrow_mut() = site.file("1.root.json").unwrap();
        *board.service.borrow_mut() = server.toml(address);
        Self { site, server, board, systems }
    }

    /// The daemon, from its start to the next boot, or until it was polled so often.
    pub(crate) async fn life(&self, polls: u64) {
        let set = LocalSet::new();
        let link = self.board.link();
        let storage = self.board.folder.path().join("storage");
        let daemon = set.run_until(async {
            let daemon = Updated::new(link, storage, Rc::new(|| None), clock::clock()).unwrap();
            daemon.serve(self.bus());
            let _ = daemon.run().await;
        });
        tokio::select! {
            () = Mortal { inner: Box::pin(daemon), polls } => {}
            () = self.board.boots.notified() => {}
        }
    }

    /// Lives on while something is done, in which it must not boot; gives what came of that.
    pub(crate) async fn up_during<T>(&self, done: impl Future<Output = T>) -> T {
        tokio::select! {
            () = self.life(u64::MAX) => panic!("it booted"),
            done = done => done,
        }
    }

    /// Lives on until something holds, which must be so within `seconds`.
    pub(crate) async fn until(&self, what: &str, seconds: u64, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        let live = async {
            loop {
                self.life(u64::MAX).await;
            }
        };
        let watch = async {
            while !holds(self) {
                sleep(Duration::from_millis(500.max(seconds / 10))).await;
            }
        };
        tokio::select! {
            () = live => {}
            done = timeout_at(end, watch) => {
                assert!(done.is_ok(), "{what}: {}: {:#?}", self.board.version(), self.board.said.borrow());
            }
        }
    }

    /// Means updates to be applied from two to three in the night of a Monday alone; it is a Friday.
    pub(crate) fn at_night(&self) {
        self.server
            .means(|answer| answer.windows = Few::new(vec![Window { from: 120, minutes: 60 }]).unwrap());
    }

    /// Means the device to run these.
    pub(crate) fn means(&self, releases: &[String]) {
        self.server.means(|answer| answer.releases = paths(releases));
    }

    /// What the service was told of a release, in order.
    pub(crate) fn told(&self, release: &str) -> Vec<Stage> {
        let mut told: Vec<Stage> = Vec::new();
        for outcome in self.outcomes(release) {
            if told.last() != Some(&outcome.stage) {
                told.push(outcome.stage);
            }
        }
        told
    }

    /// What the daemon keeps.
    pub(crate) fn kept(&self) -> serde_json::Value {
        let kept = std::fs::read(self.board.folder.path().join("storage/state.json")).unwrap();
        serde_json::from_slice(&kept).unwrap()
    }

    pub(crate) fn outcomes(&self, release: &str) -> Vec<Outcome> {
        let checks = self.server.checks.borrow();
        let all = checks.iter().flat_map(|check| check.outcomes.iter());
        all.filter(|outcome| outcome.release.as_str() == release).cloned().collect()
    }

    pub(crate) fn knows(&self, release: &str, stage: Stage) -> bool {
        self.outcomes(release).iter().any(|outcome| outcome.stage == stage)
    }
}

/// What ends after so many polls.
struct Mortal<F> {
    inner: Pin<Box<F>>,
    polls: u64,
}

impl<F: Future> Future for Mortal<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.polls == 0 {
            return Poll::Ready(());
        }
        self.polls -= 1;
        self.inner.as_mut().poll(context).map(|_| ())
    }
}
