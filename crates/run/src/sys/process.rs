//! System calls that make, wait for and replace processes.

use std::ffi::{c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;

use super::result;

/// The side on which [`clone3`] returned.
pub enum Cloned {
    /// The caller.
    Parent {
        /// The new process, in the caller's pid namespace.
        pid: i32,
        /// A descriptor of it (close-on-exec).
        pidfd: OwnedFd,
    },
    /// The new process, with a copy of the caller's memory.
    Child,
}

/// How a process ended, and the usage of it and the children that it waited for.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// The exit status or signal.
    pub status: crate::ExitStatus,
    /// User and system time.
    pub cpu: Duration,
    /// The largest resident set of one process, in bytes.
    pub peak_resident: u64,
}

/// Forks a process into new namespaces of `flags` and, if given, the v2 control group `cgroup`. The caller should have one thread:
/// with several, the child must not use locks, such as the allocator's.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data, for which zeroes are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        // In libc it is a c_int, which is too small for it (linux/sched.h).
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of all memory, so this is fork(2): clone3(2). box has one
    // thread here, so no lock of the allocator is held by a thread that the child does not have.
    let pid = result(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of_val(&args)) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel stored a new descriptor in pidfd, which has no other owner.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent {
        pid: pid as i32,
        pidfd,
    })
}

/// Waits for the end of a child and reaps it. waitid(2) with the kernel's fifth argument, the resource usage.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Exit, Errno> {
    // SAFETY: both are plain data, for which zeroes are valid.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    loop {
        // SAFETY: both structures live over the call.
        let status = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_raw_fd(),
                &mut info,
                libc::WEXITED,
                &mut usage,
            )
        };
        match result(status) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: waitid filled in the SIGCHLD part of the structure.
    let value = unsafe { info.si_status() };
    let status = match info.si_code {
        libc::CLD_EXITED => crate::ExitStatus::Exited(value as u8),
        _ => crate::ExitStatus::Signaled(value as u8),
    };
    let time =
        |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    Ok(Exit {
        status,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_resident: usage.ru_maxrss as u64 * 1024,
    })
}

/// Sends a signal by number through a pidfd. pidfd_send_signal(2)
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> Result<(), Errno> {
    // SAFETY: a null siginfo makes it what kill(2) sends.
    let status = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    result(status).map(drop)
}

/// Sends a signal with a value through a pidfd, as sigqueue(3) does. pidfd_send_signal(2)
pub(crate) fn queue_signal(pidfd: BorrowedFd<'_>, signal: c_int, value: i32) -> Result<(), Errno> {
    /// The kernel's siginfo_t for a queued signal, sigaction(2).
    #[repr(C)]
    struct Queued {
        signal: c_int,
        error: c_int,
        code: c_int,
        padding: c_int,
        pid: c_int,
        uid: u32,
        value: i32,
        rest: [c_int; 25],
    }
    const { assert!(size_of::<Queued>() == 128) };
    let info = Queued {
        signal,
        error: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        uid: rustix::process::getuid().as_raw(),
        value,
        rest: [0; 25],
    };
    // SAFETY: the structure is as long as the kernel's and lives over the call.
    let status = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            &info,
            0,
        )
    };
    result(status).map(drop)
}

/// Leaves the namespaces of `flags` (`CLONE_NEW*`) for new ones. unshare(2)
pub fn unshare(flags: c_int) -> Result<(), Errno> {
    // SAFETY: only namespaces are left, no memory or descriptor table that anyone shares with us.
    if unsafe { libc::unshare(flags) } == -1 {
        Err(last_error())
    } else {
        Ok(())
    }
}

/// Argument or environment strings for execve(2): pointers, and the strings that they point to.
pub(crate) struct Strings {
    strings: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// Takes the strings. The pointers stay valid because moving a CString does not move its bytes.
    pub fn new(strings: Vec<std::ffi::CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self { strings, pointers }
    }

    /// The strings.
    pub fn as_slice(&self) -> &[std::ffi::CString] {
        &self.strings
    }
}

impl std::fmt::Debug for Strings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.strings.fmt(out)
    }
}

/// Sleeps until it is killed.
pub(crate) fn sleep() -> ! {
    // SAFETY: pause(2) takes nothing and touches no memory; should the parent die, so does this process.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        loop {
            libc::pause();
        }
    }
}

/// execveat(2) of an open file. Returns only on failure.
pub(crate) fn execveat(file: BorrowedFd<'_>, arguments: &Strings, environment: &Strings) -> Errno {
    // SAFETY: both arrays end with a null pointer and point to strings that live in `Strings`; the empty path with AT_EMPTY_PATH means the file itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_error()
}

/// _exit(2): ends the process without running exit handlers of the copied memory.
pub fn exit(code: u8) -> ! {
    // SAFETY: it does not return and touches no memory.
    unsafe { libc::_exit(c_int::from(code)) }
}

/// Gives every signal its default action and unblocks all of them, as after a login. signal(7)
///
/// Uses the system call, because the C library's function refuses two signals, and an ignored signal would be inherited.
pub(crate) fn reset_signals() -> Result<(), Errno> {
    // struct sigaction of the kernel: handler SIG_DFL, no flags, no restorer, an empty mask of 64 bits.
    let default = [0u64; 4];
    for signal in 1..=64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: the action is as long as the kernel's on 64-bit machines, and longer than on others; the mask's
            // length is right; the old action is not asked for.
            result(unsafe {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    signal,
                    default.as_ptr(),
                    ptr::null_mut::<u64>(),
                    8,
                )
            })?;
        }
    }
    set_signal_mask(0).map(drop)
}

/// Sets the signal mask (bit N-1 is signal N), and returns the previous one.
pub fn set_signal_mask(mask: u64) -> Result<u64, Errno> {
    let mut old = 0u64;
    // SAFETY: the kernel's sigset_t is 64 bits, rt_sigprocmask(2); both masks live over the call.
    let status = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &mask,
            &mut old,
            8,
        )
    };
    result(status).map(|_| old)
}

/// A descriptor from which the signals of `mask` (bit N-1 is signal N) are read. signalfd(2)
pub(crate) fn signalfd(mask: u64) -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the mask lives over the call and is as long as is said.
    let descriptor = result(unsafe { libc::syscall(libc::SYS_signalfd4, -1, &mask, 8, flags) })?;
    // SAFETY: it is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

/// Closes all descriptors from `first` up.
pub(crate) fn close_from(first: u32) -> Result<(), Errno> {
    close_range(first, u32::MAX)
}

/// Closes all descriptors from `first` to `last`. close_range(2)
pub(crate) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: the caller is a child about to exec: no owner of these descriptors will run again.
    result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Clears close-on-exec. fcntl(2)
pub(crate) fn keep_over_exec(descriptor: RawFd) -> Result<(), Errno> {
    // SAFETY: F_SETFD takes an integer.
    let status = unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
    if status == -1 {
        Err(last_error())
    } else {
        Ok(())
    }
}

/// Duplicates `from` to number `to`, in a child about to exec. dup3(2); if they are equal, only the flag is changed.
pub(crate) fn move_descriptor(from: RawFd, to: RawFd, close_on_exec: bool) -> Result<(), Errno> {
    if from == to {
        return if close_on_exec {
            Ok(())
        } else {
            keep_over_exec(from)
        };
    }
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: the owner of number `to` in the parent's memory image does not run in this child.
    let status = unsafe { libc::dup3(from, to, flags) };
    if status == -1 {
        Err(last_error())
    } else {
        Ok(())
    }
}

/// Moves an owned descriptor to number `to`, close-on-exec, in a child about to exec.
pub(crate) fn move_owned(from: OwnedFd, to: RawFd) -> Result<OwnedFd, Errno> {
    if from.as_raw_fd() == to {
        return Ok(from);
    }
    move_descriptor(from.as_raw_fd(), to, true)?;
    // SAFETY: dup3 has just made number `to`; its owner in the parent's memory image does not run in this child.
    Ok(unsafe { OwnedFd::from_raw_fd(to) })
}

/// Joins a new session keyring, so that the caller's keys are out of reach. keyctl(2), KEYCTL_JOIN_SESSION_KEYRING
pub(crate) fn new_session_keyring() -> Result<(), Errno> {
    const JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    result(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0, 0, 0, 0) }).map(drop)
}

/// personality(2)
pub(crate) fn set_personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: it takes an integer.
    result(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}

/// Closes all descriptors above 2 that are not close-on-exec. Those of box all are, so the others are the caller's.
pub fn close_inherited() -> Result<(), Errno> {
    let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    for entry in std::fs::read_dir("/proc/self/fd").map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(number) = name
            .to_str()
            .and_then(|name| name.parse::<RawFd>().ok())
            .filter(|number| *number > 2)
        else {
            continue;
        };
        // SAFETY: both take a number; nothing of this program owns a descriptor without the flag.
        unsafe {
            if libc::fcntl(number, libc::F_GETFD) & libc::FD_CLOEXEC == 0 {
                libc::close(number);
            }
        }
    }
    Ok(())
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
