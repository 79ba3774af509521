//! Whence plans come: from the store if they were made with it, else from the manifest worker, which checks images too
//! before they are mounted. Its box is started
//! when there is something to read and stopped when there is not, so that it costs time and memory only then.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use policy::Plan;
use sys::bundle::{Next, Request};
use sys::channel;

use super::Daemon;
use super::developer::is_of_developer;
use super::switch::is_of_switch;
use crate::app::{App, State};
use crate::poller::Ready;
use crate::verity::Prepared;
use crate::worker::{MESSAGE_MAX, Queue, Verdict, What, image_question, package_question, question};
use crate::{store, system};

/// The worker, and what it has to read.
#[derive(Debug, Default)]
pub(super) struct WorkerBox {
    /// Apps whose plan nobody has looked for yet; one is taken between two looks at everything else.
    pub(super) unread: VecDeque<u32>,
    /// Manifests and images to be read by the worker.
    pub(super) queue: Queue,
    /// Apps whose image is in the queue.
    pub(super) images: BTreeMap<u32, (Plan, Prepared)>,
    /// Our end; the worker's is its standard input.
    pub(super) socket: Option<OwnedFd>,
    /// It runs.
    pub(super) up: bool,
    /// It was asked to end, for there was nothing to read.
    stopping: bool,
}

impl WorkerBox {
    /// Not every app's plan is known yet.
    pub(super) fn reading(&self) -> bool {
        !self.unread.is_empty() || self.queue.has_manifests()
    }

    fn has_work(&self) -> bool {
        !self.unread.is_empty() || !self.queue.is_empty()
    }

    /// When there is something to do: at once, or when the worker's patience ends.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        if self.unread.is_empty() { self.queue.deadline_ms() } else { Some(0) }
    }
}

impl Daemon {
    /// The worker is known, and down until it is needed.
    pub(super) fn worker_rests(&mut self) {
        let Some(uid) = system::uid(system::WORKER) else { return };
        let mut app = App::new(uid, system::WORKER, true, &self.config.cgroups, None);
        app.state = State::Down(Next::Stopped);
        self.apps.insert(uid, app);
    }

    /// Looks for the plan of the next app.
    pub(super) fn next_plan(&mut self, now: u64) -> io::Result<()> {
        let Some(uid) = self.worker.unread.pop_front() else { return Ok(()) };
        let Some(app) = self.apps.get(&uid) else { return Ok(()) };
        // A plan beside the manifest counts in the verified store alone.
        let in_store = self.package_number(&app.id).is_none();
        match in_store.then(|| store::plan(&self.app_dir(&app.id))).flatten() {
            Some(plan) => self.install_app(uid, &plan)?,
            None => self.worker_wanted(uid, What::Manifest),
        }
        // It may have been waiting for this one, or for nothing more to come.
        self.worker_next(now)
    }

    /// The worker is to read something of the app, and is started if it is down.
    pub(super) fn worker_wanted(&mut self, uid: u32, what: What) {
        self.worker.queue.push(uid, what);
        let worker = system::uid(system::WORKER).and_then(|uid| self.apps.get(&uid));
        if worker.is_some_and(|w| matches!(w.state, State::Down(Next::Stopped))) {
            self.install_system(system::WORKER);
        }
    }

    /// Something was put into its queue while it may be up with nothing to do.
    pub(super) fn worker_wakes(&mut self) -> io::Result<()> {
        if self.worker.up { self.worker_next(sys::process::now_ms()) } else { Ok(()) }
    }

    /// A new pair for a new worker box; gives its standard input.
    pub(super) fn worker_socket(&mut self) -> io::Result<OwnedFd> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        self.poller.watch(&ours, Ready::Worker)?;
        self.worker.socket = Some(ours);
        Ok(theirs)
    }

    /// Sends the next manifest or image, or stops the worker when there is none.
    pub(super) fn worker_next(&mut self, now: u64) -> io::Result<()> {
        while self.worker.up && !self.worker.stopping {
            if !self.worker.has_work() {
                self.worker.stopping = true;
                return match system::uid(system::WORKER) {
                    Some(uid) => self.init.ask(&Request::Stop(uid)),
                    None => Ok(()),
                };
            }
            let Some((number, uid, what)) = self.worker.queue.next(now) else { return Ok(()) };
            let sent = match what {
                What::Manifest => self.send_manifest(number, uid),
                What::Image => self.send_image(number, uid),
                What::Package => self.send_package(number, uid),
            };
            let Err(text) = sent else { return Ok(()) };
            self.worker.queue.skip();
            self.worker.images.remove(&uid);
            if self.switch_fault(uid, &text) || self.developer_fault(uid, &text) {
                continue;
            }
            self.problem(
                uid,
                &text,
                "an app is a directory with `manifest.toml` and `root/` (or `root.img`)",
            );
        }
        Ok(())
    }

    fn send_manifest(&self, number: u32, uid: u32) -> Result<(), String> {
        let app = || Some(self.app_dir(&self.apps.get(&uid)?.id));
        let text = store::manifest(&self.switch_dir(uid).or_else(app).ok_or("it is gone")?)?;
        let socket = self.worker.socket.as_ref().ok_or("there is no manifest worker")?;
        let sent = nix::unistd::write(socket, &question(number, &text));
        sent.map(drop).map_err(|e| format!("can not send its manifest to the worker: {e}"))
    }

    fn send_image(&self, number: u32, uid: u32) -> Result<(), String> {
        let app = || self.worker.images.get(&uid).map(|(_, image)| image);
        let image = self.switch_image(uid).or_else(app).ok_or("it is gone")?;
        let (file, length) = image.open().map_err(|e| format!("can not open its image: {e}"))?;
        let socket = self.worker.socket.as_ref().ok_or("there is no manifest worker")?;
        let sent = channel::send(socket, &image_question(number, length), &[file.as_raw_fd()]);
        sent.map_err(|e| format!("can not send its image to the worker: {e}"))
    }

    fn send_package(&self, number: u32, key: u32) -> Result<(), String> {
        let (file, length) = self.developer_file(key).ok_or("it is gone")?;
        let signer = self.developer_key();
        let socket = self.worker.socket.as_ref().ok_or("there is no manifest worker")?;
        let sent =
            channel::send(socket, &package_question(number, length, signer.as_ref()), &[file.as_raw_fd()]);
        sent.map_err(|e| format!("can not send the package to the worker: {e}"))
    }

    pub(super) fn worker_answers(&mut self, now: u64) -> io::Result<()> {
        let mut message = vec![0; MESSAGE_MAX];
        // Bounded, so that a worker that was taken over cannot keep us here by talking without pause.
        for _ in 0..16 {
            let Some(socket) = &self.worker.socket else { return Ok(()) };
            let Ok(n) = nix::unistd::read(socket, &mut message) else { return Ok(()) };
            if n == 0 {
                // Nobody holds the other end: its box could not be built.
                self.poller.forget(socket);
                self.worker.socket = None;
                return Ok(());
            }
            let answer = message.get(..n).and_then(|m| self.worker.queue.answer(m));
            if let Some((uid, verdict)) = answer {
                // The worker reads the next one while we build this one's box.
                self.worker_next(now)?;
                self.verdict(uid, verdict)?;
            }
        }
        Ok(())
    }

    /// It ended: killed by a manifest, or stopped for having nothing to do.
    pub(super) fn worker_ended(&mut self, now: u64) -> io::Result<()> {
        self.worker.up = false;
        if self.worker.socket.is_none() {
            // The worker of a sandboxd before us, whose socket is lost.
            if !self.worker.queue.is_empty() {
                self.install_system(system::WORKER);
            }
            return Ok(());
        }
        let stopped = std::mem::take(&mut self.worker.stopping);
        if !stopped && let Some((uid, verdict)) = self.worker.queue.worker_ended() {
            self.verdict(uid, verdict)?;
        }
        self.schedule.changed(now);
        let Some(worker) = system::uid(system::WORKER).and_then(|uid| self.apps.get_mut(&uid)) else {
            return Ok(());
        };
        if stopped && worker.pid().is_none() {
            // Even one that had ended by itself just before is not started again.
            worker.state = State::Down(Next::Stopped);
        }
        if matches!(worker.state, State::Down(Next::Stopped)) && !self.worker.queue.is_empty() {
            // Something to read came meanwhile.
            self.install_system(system::WORKER);
        }
        Ok(())
    }

    /// A worker that is silent for too long is as good as dead.
    pub(super) fn worker_patience(&mut self, now: u64) -> io::Result<()> {
        let state = system::uid(system::WORKER).and_then(|uid| self.apps.get(&uid)).map(|w| w.state);
        if matches!(state, None | Some(State::Problem)) {
            for uid in self.worker.queue.give_up() {
                let what = if self.worker.images.remove(&uid).is_some() { "image" } else { "manifest" };
                let text = format!("its {what} can not be read");
                if self.switch_fault(uid, &text) || self.developer_fault(uid, &text) {
                    continue;
                }
                self.problem(uid, &text, "see the problem of os.gabion.worker");
            }
            return Ok(());
        }
        if self.worker.queue.deadline_ms().is_none_or(|at| at > now) {
            return Ok(());
        }
        if let Some((uid, verdict)) = self.worker.queue.worker_ended() {
            self.verdict(uid, verdict)?;
        }
        match system::uid(system::WORKER) {
            Some(uid) if self.worker.up => self.init.ask(&Request::Kill(uid)),
            _ => Ok(()),
        }
    }

    fn verdict(&mut self, uid: u32, verdict: Verdict) -> io::Result<()> {
        if is_of_switch(uid) {
            self.switch_verdict(uid, verdict);
            return Ok(());
        }
        if is_of_developer(uid) {
            return self.developer_verdict(uid, verdict);
        }
        match verdict {
            Verdict::Plan(bytes) => self.install_app(uid, &bytes),
            Verdict::Fit => self.image_checked(uid),
            // Nobody has asked this of a box.
            Verdict::Offered(_) => Ok(()),
            Verdict::Problems(text) => {
                let of_image = self.worker.images.remove(&uid).is_some();
                let help = if of_image {
                    "pack it again with the tools of this system, and install the app again"
                } else {
                    ""
                };
                let lines: Vec<String> =
                    text.split(|b| *b == b'\n').take(200).map(crate::line::escape).collect();
                self.problem(uid, &lines.join("\n"), help);
                Ok(())
            }
            Verdict::GivenUp if self.worker.images.remove(&uid).is_some() => {
                let help = "it is not mounted; pack it again with the tools of this system, and install the app again";
                self.problem(uid, "the manifest worker failed over its image", help);
                Ok(())
            }
            Verdict::GivenUp => {
                let help = "correct its manifest.toml; `gabion check` reads it in the same way";
                self.problem(uid, "the manifest worker failed three times over its manifest", help);
                Ok(())
            }
        }
    }
}
