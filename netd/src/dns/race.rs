//! Several servers for one question: the next is asked when the one before failed, or has not answered for a second while
//! it may still. Whoever answers first is believed. No sockets inside; time is the runtime's, which tests let run as they
//! like.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};

use super::servers::{Health, Place};
use super::trouble::{Fault, Trouble};

/// How long all of it may take: libraries ask again after five seconds, and give up after ten.
pub(super) const PATIENCE: Duration = Duration::from_millis(4_500);
/// How long a server is waited for alone. Shorter, and who looks a rare name up is taken for slow; servers of one network do
/// not always know the same names.
const ALONE: Duration = Duration::from_secs(1);
/// After all have refused: a server that restarts is back soon.
const PAUSE: Duration = Duration::from_millis(300);
/// How often all are asked.
const ROUNDS: usize = 2;

/// One question, to be put to servers.
pub(super) struct Race<'a> {
    pub(super) health: &'a RefCell<Health>,
    pub(super) servers: &'a [SocketAddr],
    /// When the time of `health` began.
    pub(super) began: Instant,
}

/// A server that was asked.
struct Runner {
    place: Place,
    since: Instant,
    is_over: bool,
}

impl Race<'_> {
    /// The first good answer that `attempt` has of a server.
    pub(super) async fn run<T, F>(&self, attempt: impl Fn(SocketAddr) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut worst = None;
        for _ in 0..ROUNDS {
            let (server, fault) = match self.round(&attempt, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(None) => return Err(Trouble::NoServer),
                Err(Some(failed)) => failed,
            };
            let is_final = fault == Fault::Unable || Instant::now() + PAUSE >= deadline;
            if worst.as_ref().is_none_or(|(_, known)| *known < fault) {
                worst = Some((server, fault));
            }
            if is_final {
                break;
            }
            sleep(PAUSE).await;
        }
        Err(worst.map_or(Trouble::NoServer, |(server, fault)| Trouble::Server(server, fault)))
    }

    /// Asks each server once; what was wrong, if there is any server.
    async fn round<T, F>(
        &self,
        attempt: &impl Fn(SocketAddr) -> F,
        deadline: Instant,
    ) -> Result<T, Option<(SocketAddr, Fault)>>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut to_ask = self.health.borrow().order(self.servers, self.now_ms()).into_iter().peekable();
        let (mut waiting, mut runners) = (FuturesUnordered::new(), Vec::<Runner>::new());
        let mut next_at = Instant::now();
        let mut worst: Option<(SocketAddr, Fault)> = None;
        loop {
            if let Some(place) = to_ask.next_if(|_| next_at <= Instant::now()) {
                let (index, asking) = (runners.len(), attempt(place.server));
                waiting.push(async move { (index, asking.await) });
                let since = Instant::now();
                next_at = if place.is_on_trial { since } else { since + ALONE };
                runners.push(Runner { place, since, is_over: false });
                continue;
            }
            if waiting.is_empty() && to_ask.peek().is_none() {
                return Err(worst);
            }
            tokio::select! {
                Some((index, result)) = waiting.next(), if !waiting.is_empty() => {
                    let Some(runner) = runners.get_mut(index) else { continue };
                    let server = runner.place.server;
                    runner.is_over = true;
                    match result {
                        Ok(answer) => {
                            self.won(server, &runners);
                            return Ok(answer);
                        }
                        Err(fault) => {
                            self.failed(server, &fault);
                            if worst.as_ref().is_none_or(|(_, known)| *known < fault) {
                                worst = Some((server, fault));
                            }
                            next_at = Instant::now();
                        }
                    }
                }
                () = sleep_until(next_at), if to_ask.peek().is_some() => {}
                () = sleep_until(deadline) => {
                    for runner in runners.iter().filter(|runner| !runner.is_over) {
                        self.failed(runner.place.server, &Fault::Silent);
                        worst = worst.or(Some((runner.place.server, Fault::Silent)));
                    }
                    return Err(worst);
                }
            }
        }
    }

    /// One has answered: those that had their time, and did not, are passed over.
    fn won(&self, server: SocketAddr, runners: &[Runner]) {
        let (mut health, now_ms) = (self.health.borrow_mut(), self.now_ms());
        health.good(server);
        for runner in runners.iter().filter(|runner| !runner.is_over) {
            if runner.since.elapsed() >= ALONE {
                health.bad(runner.place.server, now_ms);
            } else if runner.place.is_on_trial {
                health.beaten(runner.place.server, now_ms);
            }
        }
    }

    fn failed(&self, server: SocketAddr, fault: &Fault) {
        if fault.is_the_servers() {
            self.health.borrow_mut().bad(server, self.now_ms());
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// What a server does, and after how many milliseconds.
    type Does = (u64, Result<u8, Fault>);

    struct Site {
        health: RefCell<Health>,
        servers: Vec<SocketAddr>,
        does: RefCell<Vec<Does>>,
        asked: RefCell<Vec<u8>>,
        began: Instant,
    }

    const NEVER: Does = (100_000, Err(Fault::Silent));
    const REFUSED: Fault = Fault::Unreachable(ErrorKind::ConnectionRefused);

    impl Site {
        fn new(does: Vec<Does>) -> Self {
            Self {
                health: RefCell::default(),
                servers: (0..does.len()).map(address).collect(),
                does: RefCell::new(does),
                asked: RefCell::default(),
                began: Instant::now(),
            }
        }

        /// The answer, who was asked, and the milliseconds that it took.
        async fn look_up(&self) -> (Result<u8, Trouble>, Vec<u8>, u128) {
            let race = Race { health: &self.health, servers: &self.servers, began: self.began };
            let start = Instant::now();
            let result = race
                .run(|server| async move {
                    let n = usize::from(server.port());
                    self.asked.borrow_mut().push(n as u8);
                    let (after_ms, does) = self.does.borrow()[n].clone();
                    sleep(Duration::from_millis(after_ms)).await;
                    does
                })
                .await;
            (result, self.asked.take(), start.elapsed().as_millis())
        }
    }

    fn address(n: usize) -> SocketAddr {
        ([192, 0, 2, 1], n as u16).into()
    }

    /// Runs in virtual time: whoever waits is waited for at once.
    fn virtually(scene: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(scene);
    }

    #[test]
    fn dead_first_server_costs_one_look_up_and_is_found_again() {
        virtually(async {
            let site = Site::new(vec![NEVER, (20, Ok(1))]);
            assert_eq!(site.look_up().await, (Ok(1), vec![0, 1], 1020));
            for _ in 0..100 {
                assert_eq!(site.look_up().await, (Ok(1), vec![1], 20), "it is passed over");
            }
            sleep(Duration::from_secs(5)).await;
            assert_eq!(site.look_up().await, (Ok(1), vec![0, 1], 20), "on trial, beside the other");
            site.does.borrow_mut()[0] = (10, Ok(0));
            sleep(Duration::from_secs(5)).await;
            assert_eq!(site.look_up().await, (Ok(0), vec![0, 1], 10));
            assert_eq!(site.look_up().await, (Ok(0), vec![0], 10), "it is the first again");
        });
    }

    #[test]
    fn server_that_refuses_costs_nothing_and_one_that_can_not_say_stays_the_first() {
        virtually(async {
            let site = Site::new(vec![(0, Err(REFUSED)), (20, Ok(1))]);
            assert_eq!(site.look_up().await, (Ok(1), vec![0, 1], 20));
            assert_eq!(site.look_up().await, (Ok(1), vec![1], 20));
            let site = Site::new(vec![(5, Err(Fault::Unable)), (20, Ok(1))]);
            assert_eq!(site.look_up().await, (Ok(1), vec![0, 1], 25));
            assert_eq!(site.look_up().await, (Ok(1), vec![0, 1], 25));
        });
    }

    #[test]
    fn look_up_without_an_answer_ends_in_time_and_says_the_most_telling_reason() {
        virtually(async {
            let failed = |n, fault| Err(Trouble::Server(address(n), fault));
            let (answer, asked, took_ms) = Site::new(vec![NEVER; 6]).look_up().await;
            assert_eq!((answer, asked, took_ms), (failed(0, Fault::Silent), vec![0, 1, 2, 3], 4500));
            let why = || Fault::Certificate("for another name".to_owned());
            let site = Site::new(vec![(5, Err(why())), NEVER]);
            assert_eq!(site.look_up().await, (failed(0, why()), vec![0, 1], 4500));
            let site = Site::new(vec![(1, Err(Fault::Unable))]);
            assert_eq!(site.look_up().await, (failed(0, Fault::Unable), vec![0], 1));
            assert_eq!(Site::new(vec![]).look_up().await, (Err(Trouble::NoServer), vec![], 0));
        });
    }

    #[test]
    fn server_that_restarts_is_asked_once_more() {
        virtually(async {
            let site = Site::new(vec![(0, Err(REFUSED))]);
            let back = async {
                sleep(Duration::from_millis(100)).await;
                site.does.borrow_mut()[0] = (10, Ok(0));
            };
            let ((found, asked, took_ms), ()) = tokio::join!(site.look_up(), back);
            assert_eq!((found, asked, took_ms), (Ok(0), vec![0, 0], 310));
        });
    }

    #[test]
    fn network_that_is_not_there_is_no_servers_fault() {
        virtually(async {
            let away = (0, Err(Fault::Unreachable(ErrorKind::NetworkUnreachable)));
            let site = Site::new(vec![away.clone(), away]);
            assert!(site.look_up().await.0.is_err());
            for does in site.does.borrow_mut().iter_mut() {
                *does = (10, Ok(7));
            }
            assert_eq!(site.look_up().await, (Ok(7), vec![0], 10));
        });
    }
}
