//! The desk: what `appsd` asks on behalf of callers on the bus, done or answered.
//!
//! Every answer is bounded; what takes time (starting, stopping) is answered when it has happened. Nothing here waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use sys::bundle::{Power, Request};
use sys::channel;

use super::Daemon;
use crate::app::{App, State};
use crate::audit_log::Entry;
use crate::console;
use crate::poller::Ready;
use crate::release;
use bus::control::Verdict;
use bus::desk::{self, Answer, Ask, Asked, Followed, GrantLine, News, TEXT_MAX, Told};
use sys::bundle::Next;

/// Questions taken before others have their turn.
const AT_ONCE: usize = 16;
/// Answers that may wait for an app to start or stop.
const WAITING_MAX: usize = 64;
/// Answers that may wait for room in the socket; it asks no more until it has read them.
const UNSENT_MAX: usize = 64;
/// How long whoever asks for the end has to hear that it comes, milliseconds.
const POWER_MS: u64 = 300;

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// It runs.
    Up,
    /// It is down.
    Down,
    /// It is down, then it is started.
    Again,
    /// It is down and has nothing stored.
    Wiped,
}

#[derive(Debug)]
struct Waiting {
    number: u32,
    uid: u32,
    goal: Goal,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Desk {
    socket: Option<OwnedFd>,
    waiting: Vec<Waiting>,
    followed: Followed,
    unsent: VecDeque<(Told, Option<OwnedFd>)>,
    lost: u32,
    /// The device goes down at this time.
    power: Option<(u64, Power)>,
}

impl Daemon {
    /// Takes the socket to `appsd`; `fresh` when we started it.
    pub(super) fn desk_opened(&mut self, socket: OwnedFd, fresh: bool) -> io::Result<()> {
        self.poller.watch(&socket, Ready::Desk)?;
        self.desk = Desk { socket: Some(socket), ..Desk::default() };
        if !fresh {
            self.desk.send(Told::News(News::Again), None);
        }
        Ok(())
    }

    /// Takes what `appsd` asks.
    pub(super) fn desk_questions(&mut self) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            if !self.desk.has_room() {
                return Ok(());
            }
            let Some(received) = self.desk.socket.as_ref().map(channel::receive) else { return Ok(()) };
            let Ok(Some((bytes, fds))) = received else { return Ok(()) };
            let Some(Asked { number, ask }) = Asked::decode(&bytes) else {
                console::say("event desk-nonsense: appsd sent what is no question");
                continue;
            };
            let file = fds.ok().and_then(|fds| fds.into_iter().next());
            self.desk_question(number, ask, file)?;
        }
        Ok(())
    }

    fn desk_question(&mut self, number: u32, ask: Ask, file: Option<OwnedFd>) -> io::Result<()> {
        let answer = match ask {
            Ask::Apps(after) => self.desk_apps(&after),
            Ask::App(id) => self.with_app(&id, |app| Answer::Apps(vec![app.told()])),
            Ask::Start(id) => return self.desk_act(number, &id, Goal::Up),
            Ask::Stop(id) => return self.desk_act(number, &id, Goal::Down),
            Ask::Restart(id) => return self.desk_act(number, &id, Goal::Again),
            Ask::Wipe(id) => return self.desk_wipe(number, &id),
            Ask::Log(id) => {
                self.with_app(&id, |app| Answer::Text { text: app.log.tail(TEXT_MAX), lost: app.log.lost() })
            }
            Ask::ExportLog(id) => return self.desk_export(number, &id),
            Ask::Exits(id) => {
                self.with_app(&id, |app| Answer::Text { text: app.exits.tail(TEXT_MAX), lost: 0 })
            }
            Ask::Audit(newest) => {
                let (events, lost) = self.bus.audit.newest(usize::from(newest.min(desk::AUDIT_AT_ONCE)));
                Answer::Audit { events: events.map(told_entry).collect(), lost }
            }
            Ask::Grants(app, interface) => self.desk_grants(&app, &interface),
            Ask::Why(app, interface, method) => {
                let why = self.bus.grants.why(&app, &interface, &method);
                Answer::Why { allowed: why.allowed, because: why.because }
            }
            Ask::Device => Answer::Device(self.desk_device()),
            Ask::Power { off, reason } => self.desk_power(off, &reason),
            Ask::Follow(followed) => self.desk_follow(followed),
            Ask::Usage(after) => self.developer_usage(&after),
            Ask::UsageOf(id) => self.developer_usage_of(&id),
            Ask::Begin(length) => self.developer_begin(length),
            Ask::Put(upload, at) => self.developer_put(upload, at, file),
            Ask::Developed(after) => self.developer_list(&after),
            Ask::Install(upload) => match self.developer_install(number, upload)? {
                Some(answer) => answer,
                None => return Ok(()),
            },
            Ask::Carry(upload) => self.update_carry(upload),
            Ask::Debug(debug) => match self.debug_begin(number, debug)? {
                Some(answer) => answer,
                None => return Ok(()),
            },
            Ask::Remove(id) => match self.developer_remove(number, &id)? {
                Some(answer) => answer,
                None => return Ok(()),
            },
            Ask::Leave => match self.developer_leave_all(Some(number))? {
                Some(answer) => answer,
                None => return Ok(()),
            },
        };
        self.desk.send(Told::Answer(number, answer), None);
        Ok(())
    }

    /// The same with a file.
    pub(super) fn desk_answer_with(&mut self, number: u32, answer: Answer, file: OwnedFd) {
        self.desk.send(Told::Answer(number, answer), Some(file));
    }

    /// Answers what was asked under this number.
    pub(super) fn desk_answer(&mut self, number: u32, answer: Answer) {
        self.desk.send(Told::Answer(number, answer), None);
    }

    fn with_app(&self, id: &str, answer: impl FnOnce(&App) -> Answer) -> Answer {
        self.apps.values().find(|app| app.id == id).map_or(Answer::NoApp, answer)
    }

    fn desk_apps(&self, after: &str) -> Answer {
        let mut apps: Vec<&App> = self.apps.values().filter(|app| app.id.as_str() > after).collect();
        apps.sort_by(|a, b| a.id.cmp(&b.id));
        Answer::Apps(apps.into_iter().take(desk::APPS_AT_ONCE).map(App::told).collect())
    }

    fn desk_grants(&self, app: &str, interface: &str) -> Answer {
        let grants = &self.bus.grants;
        let name = |uid: u32| grants.party(uid).map(|party| party.app.clone());
        let mut lines: Vec<GrantLine> = Vec::new();
        for (key, verdict) in grants.verdicts() {
            let (Verdict::Granted(grant), Some(caller)) = (verdict, name(key.uid)) else { continue };
            lines.push(GrantLine {
                app: caller,
                methods: grant.methods,
                server: name(grant.server),
                connections: u32::try_from(self.bus.open(&key)).unwrap_or(u32::MAX),
                interface: key.interface,
            });
        }
        lines.retain(|line| (line.app.as_str(), line.interface.as_str()) > (app, interface));
        lines.sort_by(|a, b| (&a.app, &a.interface).cmp(&(&b.app, &b.interface)));
        lines.truncate(desk::GRANTS_AT_ONCE);
        Answer::Grants(lines)
    }

    fn desk_device(&self) -> desk::Device {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let board =
            ["sys_vendor", "product_name"].map(|name| read(&format!("/sys/class/dmi/id/{name}"))).join(" ");
        desk::Device {
            os_version: release::running(&self.config.os_release).unwrap_or_default(),
            board: crate::line::escape(board.trim().as_bytes()),
            boot_id: read("/proc/sys/kernel/random/boot_id").replace('-', ""),
            safe_mode: self.config.safe_mode,
            developer: self.config.developer,
        }
    }

    /// Starts, stops or both; the answer comes when it has happened.
    fn desk_act(&mut self, number: u32, id: &str, goal: Goal) -> io::Result<()> {
        let Some(app) = self.apps.values().find(|app| app.id == id) else {
            self.desk.send(Told::Answer(number, Answer::NoApp), None);
            return Ok(());
        };
        let uid = app.uid;
        let app_has_no_box = matches!(app.state, State::Problem);
        let busy = self.desk.waiting.iter().any(|w| w.uid == uid)
            || self.desk.waiting.len() >= WAITING_MAX
            || self.wiping.is_under_way(uid)
            || self.packages_hold(uid)
            // It is started again by itself.
            || (self.debug.is_of(uid) && goal != Goal::Down);
        let at_once = match (app.state, goal) {
            _ if busy => Some(Answer::Busy),
            _ if app.system && goal != Goal::Up => Some(Answer::SystemApp),
            (State::Reading, _) => Some(Answer::Busy),
            (State::Problem, Goal::Down)
            | (State::Up { .. }, Goal::Up)
            | (State::Down(Next::Stopped), Goal::Down) => Some(Answer::Done),
            (_, Goal::Wiped) => None,
            (State::Problem, _) => Some(Answer::Refused(app.problem.clone().unwrap_or_default())),
            _ => None,
        };
        if let Some(answer) = at_once {
            self.desk.send(Told::Answer(number, answer), None);
            return Ok(());
        }
        let running = app.pid().is_some() || matches!(app.state, State::Starting);
        if let Some(app) = self.apps.get_mut(&uid) {
            app.held = matches!(goal, Goal::Down | Goal::Wiped);
        }
        if goal == Goal::Wiped
            && let Err(e) = self.wiping.note(uid, id)
        {
            self.desk.send(Told::Answer(number, Answer::Refused(e.to_string())), None);
            return Ok(());
        }
        self.desk.waiting.push(Waiting { number, uid, goal });
        match goal {
            Goal::Up => self.desk_start(uid),
            Goal::Again if !running => self.desk_start(uid),
            Goal::Wiped if app_has_no_box => {}
            Goal::Down | Goal::Again | Goal::Wiped => self.init.ask(&Request::Stop(uid))?,
        }
        if goal == Goal::Down && !running {
            // It waited to be started again; init forgets that, and has no end to report.
            if let Some(app) = self.apps.get_mut(&uid) {
                app.state = State::Down(Next::Stopped);
            }
            self.desk_settle(uid, &Answer::Done);
        }
        if goal == Goal::Wiped && !running {
            if let Some(app) = self.apps.get_mut(&uid).filter(|_| !app_has_no_box) {
                app.state = State::Down(Next::Stopped);
            }
            self.wiping.may_begin(uid);
        }
        Ok(())
    }

    /// Erases what an app has stored, installed or not.
    fn desk_wipe(&mut self, number: u32, id: &str) -> io::Result<()> {
        if self.apps.values().any(|app| app.id == id) {
            return self.desk_act(number, id, Goal::Wiped);
        }
        let answer = match self.wipe_left(id) {
            None => Answer::NoApp,
            Some(Ok(())) => Answer::Done,
            Some(Err(e)) => Answer::Refused(e.to_string()),
        };
        self.desk.send(Told::Answer(number, answer), None);
        Ok(())
    }

    /// What the app had stored is gone, or why it is not.
    pub(super) fn desk_wiped(&mut self, uid: u32, result: io::Result<()>) {
        let answer = result.map_or_else(|e| Answer::Refused(e.to_string()), |()| Answer::Done);
        self.desk_settle(uid, &answer);
    }

    fn desk_start(&mut self, uid: u32) {
        if let Some(app) = self.apps.get_mut(&uid) {
            app.state = State::Starting;
        }
        if let Err(e) = self.init.ask(&Request::Start(uid)) {
            self.desk_settle(uid, &Answer::Refused(e.to_string()));
        }
    }

    /// The app runs.
    pub(super) fn desk_started(&mut self, uid: u32) {
        self.debug_started(uid);
        if self.desk.waiting.iter().any(|w| w.uid == uid && w.goal == Goal::Up) {
            self.desk_settle(uid, &Answer::Done);
        }
    }

    /// Whether somebody waits for the app to end.
    pub(super) fn desk_stops(&self, uid: u32) -> bool {
        self.desk.waiting.iter().any(|w| w.uid == uid && w.goal != Goal::Up)
    }

    /// The app ended; `next` is what `init` does.
    pub(super) fn desk_ended(&mut self, uid: u32, next: Next) {
        let Some(waiting) = self.desk.waiting.iter_mut().find(|w| w.uid == uid) else { return };
        match waiting.goal {
            Goal::Down if next == Next::Stopped => self.desk_settle(uid, &Answer::Done),
            Goal::Again if next == Next::Stopped => {
                waiting.goal = Goal::Up;
                self.desk_start(uid);
            }
            _ => {}
        }
    }

    /// The app could not be launched.
    pub(super) fn desk_refused(&mut self, uid: u32, why: &str) {
        self.debug_refused(uid, why);
        self.desk_settle(uid, &Answer::Refused(why.to_owned()));
        // It was on its way up when it was to be wiped; nothing of it runs.
        self.wiping.may_begin(uid);
    }

    /// The app is gone.
    pub(super) fn desk_gone(&mut self, uid: u32) {
        self.desk_settle(uid, &Answer::NoApp);
    }

    fn desk_settle(&mut self, uid: u32, answer: &Answer) {
        let (done, left) = std::mem::take(&mut self.desk.waiting).into_iter().partition(|w| w.uid == uid);
        self.desk.waiting = left;
        let done: Vec<Waiting> = done;
        for waiting in done {
            self.desk.send(Told::Answer(waiting.number, answer.clone()), None);
        }
    }

    fn desk_export(&mut self, number: u32, id: &str) -> io::Result<()> {
        let app = self.apps.values().find(|app| app.id == id);
        let (answer, file) = match app.map(|app| app.log.whole()) {
            None => (Answer::NoApp, None),
            Some(None) => (Answer::Refused("there is no storage for logs".to_owned()), None),
            Some(Some(bytes)) => match sys::memfd::sealed(c"log", &bytes) {
                Ok(file) => (Answer::File(bytes.len() as u64), Some(file)),
                Err(e) => (Answer::Refused(e.to_string()), None),
            },
        };
        self.desk.send(Told::Answer(number, answer), file);
        Ok(())
    }

    pub(super) fn desk_power(&mut self, off: bool, reason: &str) -> Answer {
        if self.desk.power.is_some() {
            return Answer::Busy;
        }
        let what = if off { "power-off" } else { "reboot" };
        console::say(format_args!("event {what} reason=\"{}\"", crate::line::escape(reason.as_bytes())));
        let power = if off { Power::Off } else { Power::Reboot };
        self.desk.power = Some((sys::process::now_ms() + POWER_MS, power));
        Answer::Done
    }

    /// When the device is to go down.
    pub(super) fn desk_power_ms(&self) -> Option<u64> {
        self.desk.power.map(|(at, _)| at)
    }

    /// Has the device go down when it is time.
    pub(super) fn desk_power_due(&mut self, now: u64) -> io::Result<()> {
        let Some((_, power)) = self.desk.power.filter(|(at, _)| *at <= now) else { return Ok(()) };
        // Once asked, `init` does it; asking again and again would do no harm, but say so each time.
        self.desk.power = Some((u64::MAX, power));
        self.init.ask(&Request::Power(power))
    }

    fn desk_follow(&mut self, followed: Followed) -> Answer {
        if followed.calls && !self.config.developer {
            return Answer::Refused("this is no developer's device".to_owned());
        }
        for app in self.apps.values_mut() {
            app.log.follow(followed.logs.contains(&app.id));
        }
        self.bus_monitor(followed.calls);
        self.desk.followed = followed;
        Answer::Done
    }

    /// Hands on what a followed app has written.
    pub(super) fn desk_lines(&mut self, uid: u32) {
        let Some(app) = self.apps.get_mut(&uid) else { return };
        if let Some(text) = app.log.take_followed() {
            let news = News::Lines { app: app.id.clone(), text };
            self.desk.news(news);
        }
    }

    /// Hands on an event of the bus.
    pub(super) fn desk_audit(&mut self, entry: &Entry) {
        let told = told_entry(entry);
        let followed = &self.desk.followed;
        let of_record = followed.audit && told.kind != bus::control::EventKind::Called;
        if of_record || (followed.calls && told.is_call()) {
            self.desk.news(News::Audit(told));
        }
    }

    /// Hands on that an app ended.
    pub(super) fn desk_exit(&mut self, uid: u32) {
        let Some(app) = self.apps.get(&uid).filter(|_| self.desk.followed.exits) else { return };
        if let Some(exit) = app.last_exit.clone() {
            let news = News::Exit { app: app.id.clone(), system: app.system, exit };
            self.desk.news(news);
        }
    }

    /// Sends what did not fit before.
    pub(super) fn desk_flush(&mut self) {
        self.desk.flush();
    }

    /// Whether something waits to be sent.
    pub(super) fn desk_waits(&self) -> bool {
        !self.desk.unsent.is_empty()
    }
}

impl Desk {
    fn has_room(&self) -> bool {
        self.unsent.len() < UNSENT_MAX
    }

    fn send(&mut self, told: Told, file: Option<OwnedFd>) {
        self.unsent.push_back((told, file));
        self.flush();
    }

    /// News are dropped where answers wait: who asks gets an answer, who only listens may miss something, and is told.
    fn news(&mut self, news: News) {
        if !self.unsent.is_empty() {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.send(Told::News(News::Lost(lost)), None);
        }
        self.send(Told::News(news), None);
    }

    fn flush(&mut self) {
        let Some(socket) = &self.socket else {
            self.unsent.clear();
            return;
        };
        while let Some((told, file)) = self.unsent.front() {
            let fds: Vec<_> = file.iter().map(AsRawFd::as_raw_fd).collect();
            match channel::send(socket, &told.encode(), &fds) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody reads it: appsd is being started again and asks anew.
                _ => self.unsent.pop_front(),
            };
        }
    }
}

fn told_entry(entry: &Entry) -> desk::Audit {
    let Entry { number, time, app, event } = entry;
    desk::Audit {
        number: *number,
        time: time.clone(),
        kind: event.kind,
        app: app.clone(),
        interface: event.interface.clone(),
        serial: event.serial,
        detail: event.detail.clone(),
        suppressed: event.suppressed,
    }
}

impl App {
    /// The app as `appsd` is told of it.
    fn told(&self) -> desk::App {
        let state = match self.state {
            State::Reading => desk::AppState::Preparing,
            State::Starting => desk::AppState::Starting,
            State::Up { .. } if self.awaits_ready => desk::AppState::Starting,
            State::Up { .. } => desk::AppState::Running,
            State::Down(Next::Stopped) => desk::AppState::Stopped,
            State::Down(_) => desk::AppState::Waiting,
            State::Problem => desk::AppState::Failed,
        };
        desk::App {
            id: self.id.clone(),
            version: self.version.clone(),
            system: self.system,
            state,
            uid: self.uid,
            pid: self.pid(),
            memory_bytes: self.pid().and_then(|_| self.group.memory_bytes()),
            restarts: self.starts.saturating_sub(1),
            jit: self.jit,
            status: self.status.clone(),
            last_exit: self.last_exit.clone(),
            problem: self.problem.clone().filter(|_| self.state == State::Problem),
        }
    }
}
