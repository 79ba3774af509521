//! The program. We are the first process of the box's pid namespace: what it leaves behind is ours to reap, and the signal to
//! end reaches it by us.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// What a shell says of a program that a signal ended: 128 and the signal.
const BY_SIGNAL: i32 = 128;

/// Starts it.
///
/// # Errors
/// Those of `execve(2)`.
pub fn start(program: &[OsString]) -> io::Result<Pid> {
    let (name, arguments) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let child = Command::new(name).args(arguments).spawn()?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// Waits until it ends, reaping others meanwhile; what its end was, for our own.
pub fn ended(program: Pid) -> ExitCode {
    loop {
        let code = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => code,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => BY_SIGNAL + signal as i32,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => return ExitCode::FAILURE,
        };
        return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
    }
}

/// Asks it to end.
pub fn ask_to_end(program: Pid) {
    // It may have ended by itself meanwhile.
    let _ = kill(program, Signal::SIGTERM);
}
