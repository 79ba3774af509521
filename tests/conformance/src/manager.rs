//! `os.gabion.Apps` with two made-up apps, for clients to talk to.

use bus::interface::Empty;
use bus::interfaces::apps::*;
use bus::server::{Answer, Call, Pending, Server};

/// How many lines are followed before the stream ends.
pub const FOLLOWED: i64 = 3;

/// The daemon.
#[derive(Debug, Default)]
pub struct Manager {
    following: Vec<Pending<FollowLog>>,
    starting: Vec<Pending<Start>>,
}

impl Manager {
    /// Answers what was kept for later: starts, and lines that are followed.
    pub fn after(&mut self, server: &mut Server<Self>) {
        for pending in self.starting.drain(..) {
            server.finish(pending, &Empty {});
        }
        for pending in self.following.drain(..) {
            for n in 1..FOLLOWED {
                server.push(&pending, &lines(n));
            }
            server.finish(pending, &lines(FOLLOWED));
        }
    }
}

fn lines(n: i64) -> FollowLogReply<'static> {
    let line = LogLine {
        time: "2026-01-31T12:00:00.000Z".into(),
        stream: Stream::Stderr,
        text: format!("line {n}: \"é\" \\ \t").into(),
    };
    FollowLogReply { lines: vec![line], skipped: n }
}

fn app(id: &str) -> App<'_> {
    App {
        id: id.into(),
        version: Some("1.0.0".into()),
        system: false,
        state: State::Running,
        uid: Some(10_001),
        pid: None,
        memory_bytes: Some(4096),
        restarts: 0,
        jit: false,
        status: None,
        last_exit: None,
        problem: None,
    }
}

impl Handler for Manager {
    fn list(&mut self, call: Call<'_, List>) -> Answer {
        call.reply(&ListReply { apps: vec![app("com.example.one"), app("com.example.two")] })
    }

    fn get_status(&mut self, call: Call<'_, GetStatus>, parameters: GetStatusParameters<'_>) -> Answer {
        if parameters.app != "com.example.one" {
            return call.fail(&Error::AppNotFound { app: parameters.app.into_owned() });
        }
        call.reply(&GetStatusReply { status: app("com.example.one") })
    }

    fn start(&mut self, call: Call<'_, Start>, _: StartParameters<'_>) -> Answer {
        let (pending, answer) = call.later();
        self.starting.push(pending);
        answer
    }

    fn stop(&mut self, call: Call<'_, Stop>, _: StopParameters<'_>) -> Answer {
        call.not_implemented()
    }

    fn restart(&mut self, call: Call<'_, Restart>, _: RestartParameters<'_>) -> Answer {
        call.not_implemented()
    }

    fn wipe(&mut self, call: Call<'_, Wipe>, _: WipeParameters<'_>) -> Answer {
        call.not_implemented()
    }

    fn get_log(&mut self, call: Call<'_, GetLog>, parameters: GetLogParameters<'_>) -> Answer {
        let text = "x".repeat(usize::try_from(parameters.lines).unwrap_or_default());
        let line = LogLine { time: "t".into(), stream: Stream::Stdout, text: text.into() };
        call.reply(&GetLogReply { lines: vec![line], dropped: 0 })
    }

    fn follow_log(&mut self, call: Call<'_, FollowLog>, _: FollowLogParameters<'_>) -> Answer {
        let (pending, answer) = call.later();
        self.following.push(pending);
        answer
    }

    fn export_log(&mut self, call: Call<'_, ExportLog>, _: ExportLogParameters<'_>) -> Answer {
        call.fail(&Error::NoStorage {})
    }
}
