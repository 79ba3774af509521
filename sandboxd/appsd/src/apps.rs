//! `os.gabion.Apps`.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use bus::desk::{self, Answer as Told, AppState, Ask};
use bus::interface::{Empty, Method};
use bus::interfaces::apps::*;
use bus::server::{Answer, Call, Pending, Server};

use crate::appsd::Appsd;
use crate::records::{Line, lines, newest};
use crate::waiting::Waiting;

/// Most lines that may be asked for.
const LINES_MAX: i64 = 1000;

impl Handler for Appsd {
    fn list(&mut self, call: Call<'_, List>) -> Answer {
        let (pending, answer) = call.later();
        self.ask(Ask::Apps(String::new()), Waiting::Apps(pending, Vec::new()));
        answer
    }

    fn get_status(&mut self, call: Call<'_, GetStatus>, parameters: GetStatusParameters<'_>) -> Answer {
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::App(app.clone()), Waiting::Status(pending, app));
        answer
    }

    fn start(&mut self, call: Call<'_, Start>, parameters: StartParameters<'_>) -> Answer {
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::Start(app.clone()), Waiting::Start(pending, app));
        answer
    }

    fn stop(&mut self, call: Call<'_, Stop>, parameters: StopParameters<'_>) -> Answer {
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::Stop(app.clone()), Waiting::Stop(pending, app));
        answer
    }

    fn restart(&mut self, call: Call<'_, Restart>, parameters: RestartParameters<'_>) -> Answer {
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::Restart(app.clone()), Waiting::Restart(pending, app));
        answer
    }

    fn wipe(&mut self, call: Call<'_, Wipe>, parameters: WipeParameters<'_>) -> Answer {
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::Wipe(app.clone()), Waiting::Wipe(pending, app));
        answer
    }

    fn get_log(&mut self, call: Call<'_, GetLog>, parameters: GetLogParameters<'_>) -> Answer {
        let Some(count) =
            usize::try_from(parameters.lines).ok().filter(|_| (1..=LINES_MAX).contains(&parameters.lines))
        else {
            return call.invalid("lines");
        };
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::Log(app.clone()), Waiting::Log(pending, app, count));
        answer
    }

    fn follow_log(&mut self, call: Call<'_, FollowLog>, parameters: FollowLogParameters<'_>) -> Answer {
        let Some(count) = usize::try_from(parameters.lines).ok().filter(|_| parameters.lines <= LINES_MAX)
        else {
            return call.invalid("lines");
        };
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::Log(app.clone()), Waiting::FollowLog(pending, app, count));
        answer
    }

    fn export_log(&mut self, call: Call<'_, ExportLog>, parameters: ExportLogParameters<'_>) -> Answer {
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::ExportLog(app.clone()), Waiting::Export(pending, app));
        answer
    }
}

impl Appsd {
    pub(crate) fn apps_page(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<List>,
        mut known: Vec<desk::App>,
        answer: Told,
    ) {
        let Told::Apps(page) = answer else { return };
        let full = page.len() >= desk::APPS_AT_ONCE;
        known.extend(page);
        match known.last().filter(|_| full).map(|app| app.id.clone()) {
            Some(last) => self.ask(Ask::Apps(last), Waiting::Apps(pending, known)),
            None => server.finish(pending, &ListReply { apps: known.iter().map(shown).collect() }),
        }
    }

    pub(crate) fn status(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<GetStatus>,
        app: String,
        answer: Told,
    ) {
        let Told::Apps(apps) = answer else { return server.fail(pending, &Error::AppNotFound { app }) };
        if let Some(found) = apps.first() {
            server.finish(pending, &GetStatusReply { status: shown(found) });
        }
    }

    /// For starting, stopping and both: the same answer.
    pub(crate) fn acted<M>(server: &mut Server<Self>, pending: Pending<M>, app: String, answer: Told)
    where
        M: for<'a> Method<Error = Error, Reply<'a> = Empty>,
    {
        match failure(app, answer) {
            None => server.finish(pending, &Empty {}),
            Some(error) => server.fail(pending, &error),
        }
    }

    pub(crate) fn wiped(server: &mut Server<Self>, pending: Pending<Wipe>, app: String, answer: Told) {
        match answer {
            Told::Refused(reason) => server.fail(pending, &Error::WipeFailed { app, reason }),
            answer => Self::acted(server, pending, app, answer),
        }
    }

    pub(crate) fn log(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<GetLog>,
        app: String,
        count: usize,
        answer: &Told,
    ) {
        let Told::Text { text, lost } = answer else {
            return server.fail(pending, &Error::AppNotFound { app });
        };
        let lines = newest(&lines(text), count).iter().map(log_line).collect();
        server.finish(pending, &GetLogReply { lines, dropped: i64::try_from(*lost).unwrap_or(i64::MAX) });
    }

    pub(crate) fn log_begins(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<FollowLog>,
        app: String,
        count: usize,
        answer: &Told,
    ) {
        let Told::Text { text, .. } = answer else {
            return server.fail(pending, &Error::AppNotFound { app });
        };
        let lines = newest(&lines(text), count).iter().map(log_line).collect();
        server.push(&pending, &FollowLogReply { lines, skipped: 0 });
        self.followers.logs.push((app, pending));
    }

    pub(crate) fn exported(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<ExportLog>,
        app: String,
        answer: Told,
        file: Option<OwnedFd>,
    ) {
        match (answer, file) {
            (Told::File(bytes), Some(file)) => {
                let reply = ExportLogReply { log: 0, size_bytes: i64::try_from(bytes).unwrap_or(i64::MAX) };
                server.finish_with(pending, &reply, vec![file]);
            }
            (Told::NoApp, _) => server.fail(pending, &Error::AppNotFound { app }),
            _ => server.fail(pending, &Error::NoStorage {}),
        }
    }
}

/// What went wrong, if something did.
fn failure(app: String, answer: Told) -> Option<Error> {
    match answer {
        Told::Done => None,
        Told::NoApp => Some(Error::AppNotFound { app }),
        Told::SystemApp => Some(Error::SystemApp { app }),
        Told::Busy => Some(Error::Busy { app }),
        Told::Refused(reason) => Some(Error::LaunchRefused { app, reason }),
        other => Some(Error::LaunchRefused { app, reason: format!("unexpected answer {other:?}") }),
    }
}

fn shown(app: &desk::App) -> App<'_> {
    let text = |text: &'_ Option<String>| text.clone().map(Cow::Owned);
    App {
        id: app.id.as_str().into(),
        version: text(&app.version),
        system: app.system,
        state: match app.state {
            AppState::Preparing => State::Preparing,
            AppState::Starting => State::Starting,
            AppState::Running => State::Running,
            AppState::Waiting => State::Waiting,
            AppState::Stopped => State::Stopped,
            AppState::Failed => State::Failed,
        },
        uid: Some(i64::from(app.uid)),
        pid: app.pid.map(i64::from),
        memory_bytes: app.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok()),
        restarts: i64::from(app.restarts),
        jit: app.jit,
        status: text(&app.status),
        last_exit: app.last_exit.as_ref().map(exit),
        problem: text(&app.problem),
    }
}

fn exit(exit: &desk::Exit) -> Exit<'_> {
    Exit {
        time: exit.time.as_str().into(),
        reason: reason(&exit.reason),
        detail: exit.detail.as_str().into(),
        uptime_ms: i64::try_from(exit.uptime_ms).unwrap_or(i64::MAX),
    }
}

fn reason(word: &str) -> Reason {
    match word {
        "signal" => Reason::Signal,
        "stopped" => Reason::Stopped,
        "seccomp" => Reason::Seccomp,
        "oom" => Reason::Oom,
        "watchdog" => Reason::Watchdog,
        "refused" => Reason::Refused,
        _ => Reason::Exit,
    }
}

/// A line of a log as it is shown.
pub(crate) fn log_line<'a>(line: &Line<'a>) -> LogLine<'a> {
    let stream = if line.is_err { Stream::Stderr } else { Stream::Stdout };
    LogLine { time: line.time.into(), stream, text: line.text.into() }
}
