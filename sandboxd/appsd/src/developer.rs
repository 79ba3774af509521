//! `os.gabion.Developer`.

use bus::desk::{self, Answer as Told, Ask};
use bus::interfaces::developer::*;
use bus::server::{Answer, Call, Pending, Server};

use crate::appsd::Appsd;
use crate::waiting::Waiting;

impl Handler for Appsd {
    fn begin(&mut self, call: Call<'_, Begin>, parameters: BeginParameters) -> Answer {
        let Ok(length) = u64::try_from(parameters.size_bytes) else { return call.invalid("size_bytes") };
        let (pending, answer) = call.later();
        self.ask(Ask::Begin(length), Waiting::Begin(pending));
        answer
    }

    fn put(&mut self, mut call: Call<'_, Put>, parameters: PutParameters) -> Answer {
        let Ok(upload) = u32::try_from(parameters.upload) else { return call.invalid("upload") };
        let Ok(at) = u64::try_from(parameters.offset_bytes) else { return call.invalid("offset_bytes") };
        let mut files = call.take_descriptors();
        let file = usize::try_from(parameters.part).ok().filter(|part| *part < files.len());
        let Some(file) = file.map(|part| files.swap_remove(part)) else { return call.invalid("part") };
        let (pending, answer) = call.later();
        self.ask_with(Ask::Put(upload, at), Waiting::Put(pending), Some(file));
        answer
    }

    fn install(&mut self, call: Call<'_, Install>, parameters: InstallParameters) -> Answer {
        let Ok(upload) = u32::try_from(parameters.upload) else { return call.invalid("upload") };
        let (pending, answer) = call.later();
        self.ask(Ask::Install(upload), Waiting::Install(pending));
        answer
    }

    fn carry(&mut self, call: Call<'_, Carry>, parameters: CarryParameters) -> Answer {
        let Ok(upload) = u32::try_from(parameters.upload) else { return call.invalid("upload") };
        let (pending, answer) = call.later();
        self.ask(Ask::Carry(upload), Waiting::Carry(pending));
        answer
    }

    fn remove(&mut self, call: Call<'_, Remove>, parameters: RemoveParameters<'_>) -> Answer {
        let app = parameters.app.into_owned();
        let (pending, answer) = call.later();
        self.ask(Ask::Remove(app.clone()), Waiting::Remove(pending, app));
        answer
    }

    fn debug(&mut self, call: Call<'_, Debug>, parameters: DebugParameters<'_>) -> Answer {
        self.debug_asked(call, parameters)
    }

    fn debug_input(&mut self, call: Call<'_, DebugInput>, parameters: DebugInputParameters<'_>) -> Answer {
        self.debug_written(call, &parameters)
    }

    fn list(&mut self, call: Call<'_, List>) -> Answer {
        let (pending, answer) = call.later();
        self.ask(Ask::Developed(String::new()), Waiting::Developed(pending, Vec::new()));
        answer
    }

    fn leave(&mut self, call: Call<'_, Leave>) -> Answer {
        let (pending, answer) = call.later();
        self.ask(Ask::Leave, Waiting::Leave(pending));
        answer
    }

    fn stats(&mut self, call: Call<'_, Stats>, parameters: StatsParameters<'_>) -> Answer {
        let (pending, answer) = call.later();
        match parameters.app {
            Some(app) => {
                let app = app.into_owned();
                self.ask(Ask::UsageOf(app.clone()), Waiting::UsageOf(pending, app));
            }
            None => self.ask(Ask::Usage(String::new()), Waiting::Usage(pending, Vec::new())),
        }
        answer
    }
}

impl Appsd {
    pub(crate) fn begun(server: &mut Server<Self>, pending: Pending<Begin>, answer: Told) {
        match answer {
            Told::Begun(upload) => server.finish(pending, &BeginReply { upload: i64::from(upload) }),
            answer => server.fail(pending, &failure(String::new(), answer)),
        }
    }

    pub(crate) fn put(server: &mut Server<Self>, pending: Pending<Put>, answer: Told) {
        match answer {
            Told::Done => server.finish(pending, &bus::interface::Empty {}),
            answer => server.fail(pending, &failure(String::new(), answer)),
        }
    }

    pub(crate) fn installed(server: &mut Server<Self>, pending: Pending<Install>, answer: Told) {
        match answer {
            Told::Installed(app, version, root_hash) => {
                let (app, version, root_hash) = (app.into(), version.into(), root_hash.into());
                server.finish(pending, &InstallReply { app, version, root_hash });
            }
            answer => server.fail(pending, &failure(String::new(), answer)),
        }
    }

    pub(crate) fn carried(server: &mut Server<Self>, pending: Pending<Carry>, answer: Told) {
        match answer {
            Told::Done => server.finish(pending, &bus::interface::Empty {}),
            answer => server.fail(pending, &failure(String::new(), answer)),
        }
    }

    pub(crate) fn removed(server: &mut Server<Self>, pending: Pending<Remove>, app: String, answer: Told) {
        match answer {
            Told::Done => server.finish(pending, &bus::interface::Empty {}),
            answer => server.fail(pending, &failure(app, answer)),
        }
    }

    pub(crate) fn left(server: &mut Server<Self>, pending: Pending<Leave>, answer: Told) {
        match answer {
            Told::Left(removed) => server.finish(pending, &LeaveReply { removed: i64::from(removed) }),
            answer => server.fail(pending, &failure(String::new(), answer)),
        }
    }

    pub(crate) fn developed_page(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<List>,
        mut known: Vec<desk::Developed>,
        answer: Told,
    ) {
        let Told::Developed(page) = answer else { return };
        let full = page.len() >= desk::DEVELOPED_AT_ONCE;
        known.extend(page);
        match known.last().filter(|_| full).map(|app| app.app.clone()) {
            Some(last) => self.ask(Ask::Developed(last), Waiting::Developed(pending, known)),
            None => server.finish(pending, &ListReply { apps: known.iter().map(developed).collect() }),
        }
    }

    pub(crate) fn usage_page(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<Stats>,
        mut known: Vec<desk::Usage>,
        answer: Told,
    ) {
        let Told::Usage(page) = answer else { return };
        let full = page.len() >= desk::DEVELOPED_AT_ONCE;
        known.extend(page);
        match known.last().filter(|_| full).map(|app| app.app.clone()) {
            Some(last) => self.ask(Ask::Usage(last), Waiting::Usage(pending, known)),
            None => server.finish(pending, &StatsReply { apps: known.iter().map(usage).collect() }),
        }
    }

    pub(crate) fn usage_of(server: &mut Server<Self>, pending: Pending<Stats>, app: String, answer: Told) {
        match answer {
            Told::Usage(found) => {
                server.finish(pending, &StatsReply { apps: found.iter().map(usage).collect() })
            }
            answer => server.fail(pending, &failure(app, answer)),
        }
    }
}

fn failure(app: String, answer: Told) -> Error {
    match answer {
        Told::NoApp => Error::NotInstalled { app },
        Told::Busy => Error::Busy {},
        Told::Refused(reason) => Error::Refused { reason },
        other => Error::Refused { reason: format!("unexpected answer {other:?}") },
    }
}

fn developed(app: &desk::Developed) -> Installed<'_> {
    Installed {
        app: app.app.as_str().into(),
        version: app.version.as_str().into(),
        developer: app.who.as_deref().map(Into::into),
        beneath: app.beneath.as_deref().map(Into::into),
    }
}

fn usage(app: &desk::Usage) -> Usage<'_> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Usage {
        app: app.app.as_str().into(),
        cpu_us: number(app.cpu.0),
        cpu_limit_permille: app.cpu.1.map(number),
        memory_bytes: number(app.memory.0),
        memory_peak_bytes: number(app.memory.1),
        memory_limit_bytes: app.memory.2.map(number),
        tasks: number(app.tasks.0),
        tasks_limit: app.tasks.1.map(number),
        storage_bytes: number(app.storage.0),
        storage_limit_bytes: number(app.storage.1),
        restarts: i64::from(app.restarts),
        uptime_ms: app.uptime_ms.map(number),
    }
}

/// What a part of a package was asked with, or which box was to be debugged, can not be asked again of the next sandboxd, which knows nothing of what was begun.
pub(crate) fn is_asked_again(ask: &Ask) -> bool {
    !matches!(ask, Ask::Put(..) | Ask::Install(_) | Ask::Carry(_) | Ask::Debug(_))
}

/// The same, to a caller.
pub(crate) fn lost() -> Told {
    Told::Refused("the app manager was started again meanwhile; do it again from the start".to_owned())
}
