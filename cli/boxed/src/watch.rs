//! Following a program and all that it starts, from stop to stop, until none of them is left.

use std::collections::BTreeMap;
use std::io;

use policy::filter::Call;
use sys::launch::{Launched, outcome};
use sys::step::Step;
use sys::trace::{self, Stop};

use crate::error::{Context, Error};
use crate::measure::Measure;
use crate::observe::{Begun, Observer};
use crate::run::End;
use crate::task::Task;

/// Signals by which the kernel ends whoever does what can not be done, as a program does on purpose that gives up. Without a
/// handler they end the first process of a namespace, too; but not when a tracer hands them on, who must end it then.
const FAULTS: [i32; 5] =
    [nix::libc::SIGILL, nix::libc::SIGTRAP, nix::libc::SIGBUS, nix::libc::SIGFPE, nix::libc::SIGSEGV];

/// A watched task.
#[derive(Default)]
struct State {
    begun: Option<Begun>,
    /// The call was replaced, because its filter would kill for it.
    spared: bool,
}

/// Follows `program` and all that it starts until none is left.
pub(crate) fn follow(
    launched: &Launched,
    program: &str,
    observer: &mut Observer,
    measure: &Measure,
) -> Result<End, Error> {
    let mut tasks: BTreeMap<u32, State> = BTreeMap::new();
    tasks.insert(launched.pid, State::default());
    let (mut runs, mut end, mut fault) = (false, None, None);
    let mut program = Some(program.to_owned());
    loop {
        let (pid, stop) = match trace::wait() {
            Ok(stopped) => stopped,
            Err(e) if e.raw_os_error() == Some(nix::libc::ECHILD) => break,
            Err(e) => return Err(Error::Machine("can not watch the program", e)),
        };
        let task = Task(pid);
        let mut signal = 0;
        match stop {
            Stop::Exited(_) | Stop::Killed(_) => {
                tasks.remove(&pid);
                observer.forget(task);
                if pid == launched.pid {
                    end = Some(match stop {
                        Stop::Killed(signal) => End::Killed(fault.unwrap_or(signal)),
                        Stop::Exited(code) => End::Exited(code),
                        _ => continue,
                    });
                }
                continue;
            }
            Stop::Exec => {
                runs = true;
                measure.begin();
                observer.forget(task);
                // The call that began it was the launcher's, or was made by another thread that is gone now. Its end is
                // the next stop.
                let state = tasks.entry(pid).or_default();
                state.begun.get_or_insert_with(|| observer.executed(program.take()));
            }
            Stop::Exit => measure.sample(),
            Stop::Signal(number) => {
                signal = number;
                if FAULTS.contains(&number) && task.is_of(launched.pid) && !task.handles(number) {
                    fault = fault.or(Some(number));
                    // It may be gone already.
                    let _ = sys::process::signal(&launched.pidfd, nix::libc::SIGKILL);
                }
            }
            Stop::Group => {
                trace::stay(pid).context("can not leave a task stopped")?;
                continue;
            }
            Stop::Syscall if runs => {
                let state = tasks.entry(pid).or_default();
                // Killed meanwhile: its end comes next.
                let _ = syscall(task, state, observer);
            }
            Stop::Syscall | Stop::Trap => {}
        }
        tasks.entry(pid).or_default();
        observer.record.tasks = observer.record.tasks.max(u32::try_from(tasks.len()).unwrap_or(u32::MAX));
        trace::go_on(pid, signal).context("can not let a task go on")?;
    }
    match outcome(&launched.status) {
        Some(Err((step, errno))) => {
            let step = Step::from_number(step).unwrap_or(Step::Exec);
            Err(Error::Refused(step, io::Error::from_raw_os_error(errno)))
        }
        _ => end.ok_or(Error::Machine("the program's end was not told", io::ErrorKind::NotFound.into())),
    }
}

/// One end of a call: its beginning if none is open.
fn syscall(task: Task, state: &mut State, observer: &mut Observer) -> io::Result<()> {
    let mut registers = trace::registers(task.0)?;
    let Some(begun) = state.begun.take() else {
        let args = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
        let call = Call { number: registers.orig_rax as u32, args };
        state.spared = observer.spares(&call);
        state.begun = Some(observer.begin(task, call));
        if state.spared {
            registers.orig_rax = nix::libc::SYS_getpid as u64;
            trace::set_registers(task.0, registers)?;
        }
        return Ok(());
    };
    if std::mem::take(&mut state.spared) {
        registers.rax = (-i64::from(nix::libc::EPERM)) as u64;
        trace::set_registers(task.0, registers)?;
    }
    observer.end(task, begun, registers.rax as i64);
    Ok(())
}
