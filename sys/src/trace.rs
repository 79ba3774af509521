//! Watching every system call of a process and of whatever it starts (`ptrace(2)`), for the recording box of the
//! developer's tool. Nothing of this is on a device.
//!
//! By raw numbers where `nix` has types: it has none for real-time signals, and a stop by one would be lost.
//! The thread that begins to watch is the one that must go on.

use std::io;

use libc::{c_int, c_long, pid_t};
use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

pub use libc::user_regs_struct as Registers;

/// Why a watched task stands, or what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At the beginning or at the end of a system call.
    Syscall,
    /// `execve` succeeded.
    Exec,
    /// About to end; its memory is still there.
    Exit,
    /// New, or otherwise held by us for a moment.
    Trap,
    /// This signal is about to be delivered.
    Signal(c_int),
    /// Stopped by SIGSTOP and its like, with its whole process.
    Group,
    /// It ended with this code.
    Exited(c_int),
    /// This signal ended it.
    Killed(c_int),
}

/// Begins to watch `pid` and all that it starts. If we end, they are killed.
///
/// # Errors
/// Those of `PTRACE_SEIZE`.
pub fn seize(pid: u32) -> io::Result<()> {
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXIT
        | Options::PTRACE_O_EXITKILL;
    Ok(ptrace::seize(Pid::from_raw(pid.cast_signed()), options)?)
}

/// Waits until one of this thread's children and watched tasks stops or ends.
///
/// # Errors
/// `ECHILD`: there are none left.
pub fn wait() -> io::Result<(u32, Stop)> {
    let mut status: c_int = 0;
    loop {
        // SAFETY: waitpid writes one integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if pid > 0 {
            return Ok((pid.cast_unsigned(), decode(status)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn decode(status: c_int) -> Stop {
    if libc::WIFEXITED(status) {
        return Stop::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Stop::Killed(libc::WTERMSIG(status));
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_EXIT => Stop::Exit,
        libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => Stop::Group,
        _ => Stop::Trap,
    }
}

/// Lets a stopped task go on to its next system call, with a signal or without (0). One that is gone is no error: its
/// end is told by [`wait`].
///
/// # Errors
/// Those of `ptrace(2)`.
pub fn go_on(pid: u32, signal: c_int) -> io::Result<()> {
    resume(libc::PTRACE_SYSCALL, pid, signal)
}

/// Leaves a task stopped with its process until that is continued.
///
/// # Errors
/// Those of `ptrace(2)`.
pub fn stay(pid: u32) -> io::Result<()> {
    resume(libc::PTRACE_LISTEN, pid, 0)
}

fn resume(request: libc::c_uint, pid: u32, signal: c_int) -> io::Result<()> {
    let none: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: both requests take integers only.
    let r: c_long = unsafe { libc::ptrace(request, pid as pid_t, none, c_long::from(signal)) };
    match io::Error::last_os_error() {
        error if r < 0 && error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// The registers of a stopped task.
///
/// # Errors
/// Those of `ptrace(2)`; `ESRCH` when it was killed meanwhile.
pub fn registers(pid: u32) -> io::Result<Registers> {
    Ok(ptrace::getregs(Pid::from_raw(pid.cast_signed()))?)
}

/// Changes the registers of a stopped task.
///
/// # Errors
/// As [`registers`].
pub fn set_registers(pid: u32, registers: Registers) -> io::Result<()> {
    Ok(ptrace::setregs(Pid::from_raw(pid.cast_signed()), registers)?)
}

/// Bytes of a task's memory, as many as there are from `at`, at most `length`.
///
/// # Errors
/// `EFAULT`: there is nothing.
pub fn memory(pid: u32, at: u64, length: usize) -> io::Result<Vec<u8>> {
    use nix::sys::uio::{RemoteIoVec, process_vm_readv};
    let mut bytes = vec![0; length];
    let base = usize::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))?;
    let remote = [RemoteIoVec { base, len: length }];
    let mut local = [io::IoSliceMut::new(&mut bytes)];
    let got = process_vm_readv(Pid::from_raw(pid.cast_signed()), &mut local, &remote)?;
    bytes.truncate(got);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_a_real_time_signal_is_a_signal() {
        assert_eq!(decode(33 << 8 | 0x7f), Stop::Signal(33));
        assert_eq!(decode((libc::SIGTRAP | 0x80) << 8 | 0x7f), Stop::Syscall);
        assert_eq!(decode(libc::PTRACE_EVENT_EXEC << 16 | libc::SIGTRAP << 8 | 0x7f), Stop::Exec);
        assert_eq!(decode(libc::PTRACE_EVENT_STOP << 16 | libc::SIGTSTP << 8 | 0x7f), Stop::Group);
        assert_eq!(decode(libc::PTRACE_EVENT_STOP << 16 | libc::SIGTRAP << 8 | 0x7f), Stop::Trap);
        assert_eq!(decode(3 << 8), Stop::Exited(3));
        assert_eq!(decode(9), Stop::Killed(9));
    }
}
