//! Running a program in its box: plainly as a device would, or watched call by call.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use policy::Plan;
use sys::launch::Launched;
use sys::step::Step;
use sys::trace;

use crate::app::App;
use crate::build::{Boxed, Network};
use crate::error::{Context, Error};
use crate::measure::Measure;
use crate::observe::Observer;
use crate::output;
use crate::record::Record;
use crate::standin::{self, Answers};
use crate::watch::follow;

/// How often the watching thread looks at its clock and at the box.
const LOOK: Duration = Duration::from_millis(50);

/// How somebody wants a program to be run.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// Which network it is in.
    pub network: Network,
    /// What its calls on the bus are answered with.
    pub answers: &'a Answers,
    /// When it is ended; `None`: when it ends.
    pub time: Option<Duration>,
    /// Set by somebody who wants it ended now.
    pub enough: &'a AtomicBool,
    /// Where its output goes besides.
    pub show: Show,
    /// Whether its calls are watched.
    pub watch: Watch,
    /// What it finds in its `/data` and leaves there: made if it is not there. `None`: nothing, and it goes away.
    pub data: Option<&'a Path>,
}

/// Where what a program writes goes while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Nowhere.
    Nothing,
    /// Standard output and error to our standard error.
    Aside,
    /// Each to our own.
    AsIs,
}

/// Whether and how calls are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Not: the record has only what can be seen from outside.
    Not,
    /// They are, and nothing is changed.
    Calls,
    /// They are, and those that kill are refused instead.
    Spare,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// By us: its time was over, or somebody had enough.
    Stopped,
}

impl End {
    /// Whether nothing says that something went wrong.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Exited(0) | Self::Stopped)
    }
}

/// A run that is over.
#[derive(Debug, Clone)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// The beginning of what it wrote, standard output and error.
    pub output: [Vec<u8>; 2],
    /// What it was seen to do.
    pub record: Record,
}

/// Runs the program in the box of `plan`. `others` are plans whose filters its calls will be held against.
///
/// Call it from a thread that has no children of its own: it waits for all that the thread has.
///
/// # Errors
/// Whatever keeps the box from being built, launched or watched.
pub fn run(app: &App, mut plan: Plan, others: &[Plan], wish: &Wish<'_>) -> Result<Run, Error> {
    plan.argv.extend(app.arguments.iter().cloned());
    let hosts = std::fs::read_to_string(app.root.join("etc/hosts")).unwrap_or_default();
    let mut observer = Observer::new(&plan, others, &hosts, wish.watch == Watch::Spare);
    let program = plan.argv.first().cloned().unwrap_or_default();
    let patience = Duration::from_millis(u64::from(plan.lifecycle.stop_timeout_ms));
    let mut boxed = Boxed::new(plan, &app.root, wish.network, wish.data)?;
    let endpoints = std::mem::take(&mut boxed.endpoints);
    let measure = Measure::new(&boxed.group, &boxed.data);
    let gone = AtomicBool::new(false);
    let is_gone = || gone.load(Ordering::Acquire);

    let launched = if wish.watch == Watch::Not { launch(&boxed)? } else { launch_watched(&boxed)? };
    let [out, err] = boxed.output.each_ref().map(|fd| fd.try_clone().context("no log pipe"));
    let (out, err, notify) = (out?, err?, boxed.notify.try_clone().context("no notify socket")?);

    let (watched, stopped, output, notices, methods) = thread::scope(|scope| {
        let (to_out, to_err): (Box<dyn Write + Send>, Box<dyn Write + Send>) = match wish.show {
            Show::Nothing => (Box::new(io::sink()), Box::new(io::sink())),
            Show::Aside => (Box::new(io::stderr()), Box::new(io::stderr())),
            Show::AsIs => (Box::new(io::stdout()), Box::new(io::stderr())),
        };
        let out = scope.spawn(move || output::pass_on(out, to_out, is_gone));
        let err = scope.spawn(move || output::pass_on(err, to_err, is_gone));
        let notices = scope.spawn(move || output::notices(notify, is_gone));
        let methods = scope.spawn(move || standin::serve(endpoints, wish.answers, is_gone));
        let clock = scope.spawn(|| clock(&launched, wish, patience, &measure, is_gone));
        let watched = follow(&launched, &program, &mut observer, &measure);
        gone.store(true, Ordering::Release);
        let output = [out.join().unwrap_or_default(), err.join().unwrap_or_default()];
        let (notices, methods) = (notices.join().unwrap_or_default(), methods.join().unwrap_or_default());
        (watched, clock.join().unwrap_or_default(), output, notices, methods)
    });
    let mut end = watched?;
    measure.sample();
    if stopped {
        end = End::Stopped;
    }
    let mut record = observer.record;
    let peaks = measure.peaks();
    (record.memory, record.tmp, record.data) = (peaks.memory, peaks.tmp, peaks.data);
    record.notices = notices.into_iter().collect();
    record.methods = methods;
    Ok(Run { end, output, record })
}

fn launch(boxed: &Boxed) -> Result<Launched, Error> {
    boxed.prepared.launch().map_err(|e| Error::Refused(Step::Clone, e))
}

/// Held before its first instruction until we watch it, so that nothing is missed.
fn launch_watched(boxed: &Boxed) -> Result<Launched, Error> {
    boxed.hold(true)?;
    let launched = launch(boxed)?;
    let seized = trace::seize(launched.pid);
    let released = boxed.hold(false);
    let watched = seized.map_err(|e| Error::Machine("can not watch the program", e)).and(released);
    if watched.is_err() {
        let _ = sys::process::signal(&launched.pidfd, nix::libc::SIGKILL);
    }
    watched.map(|()| launched)
}

/// Ends the box when its time is over, as a device does: SIGTERM, and SIGKILL when that was not enough. Measures
/// meanwhile. Says whether it was ended.
fn clock(
    launched: &Launched,
    wish: &Wish<'_>,
    patience: Duration,
    measure: &Measure,
    gone: impl Fn() -> bool,
) -> bool {
    let begin = Instant::now();
    let mut asked: Option<Instant> = None;
    while !gone() {
        measure.sample();
        let over =
            wish.enough.load(Ordering::Relaxed) || wish.time.is_some_and(|time| begin.elapsed() >= time);
        let signal = match asked {
            None if over => {
                asked = Some(Instant::now());
                Some(nix::libc::SIGTERM)
            }
            Some(since) if since.elapsed() >= patience => Some(nix::libc::SIGKILL),
            _ => None,
        };
        if let Some(signal) = signal {
            // It may be gone already.
            let _ = sys::process::signal(&launched.pidfd, signal);
        }
        thread::sleep(LOOK);
    }
    asked.is_some()
}
