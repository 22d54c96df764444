//! `--init`: PID 1 that passes signals on to the command and reaps what is left to it.
//!
//! It is a program of a few hundred instructions, executed from memory. A copy of box in its place could be looked into by a
//! container with CAP_SYS_PTRACE, and would show the host's program as `/proc/1/exe` (CVE-2019-5736).

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{getpid, setpgid};
use rustix::stdio::stdin;
use rustix::termios::tcsetpgrp;

use crate::channel::{Failed, Step};
use crate::sys::process::{self, Strings};

/// Compiled by build.rs from `reaper/program.rs`.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/reaper"));

/// The program as a file of its own that nobody can write to. memfd_create(2)
pub(crate) fn program() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 know no such flag, and let every memory file be executed.
    let file = match memfd_create(c"box-init", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(c"box-init", flags)?,
        made => made?,
    };
    let mut rest = PROGRAM;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// Returns in the command's process, when PID 1 is the program and nothing of box any more. In PID 1 it returns only if
/// that failed.
pub(crate) fn split(program: OwnedFd) -> Result<(), Failed> {
    // Blocked before the fork and over the exec, so that no signal finds PID 1 deaf.
    process::set_signal_mask(forwarded()).map_err(Step::Fork.failed(0))?;
    let (executed, line) = pipe_with(PipeFlags::CLOEXEC).map_err(Step::Fork.failed(1))?;
    match process::fork().map_err(Step::Fork.failed(2))? {
        None => {
            drop((program, line));
            // End of file: PID 1 has executed its program. Had it failed, it had killed us.
            let waited = rustix::io::retry_on_intr(|| rustix::io::read(&executed, &mut [0u8][..]));
            waited.map_err(Step::Fork.failed(3))?;
            // A job of its own, in the foreground if there is a terminal, so that Control-C reaches it and not PID 1.
            setpgid(None, None).map_err(Step::Fork.failed(4))?;
            match tcsetpgrp(stdin(), getpid()) {
                Ok(()) | Err(Errno::NOTTY | Errno::BADF | Errno::PERM) => {}
                Err(errno) => return Err(Step::Fork.failed(5)(errno)),
            }
            process::set_signal_mask(0)
                .map(drop)
                .map_err(Step::Fork.failed(6))
        }
        Some(command) => {
            let errno = become_program(&program, command);
            process::kill(command, libc::SIGKILL);
            Err(Step::Reaper.failed(0)(errno))
        }
    }
}

/// Returns only if it failed.
fn become_program(program: &OwnedFd, command: i32) -> Errno {
    let words = ["box-init".to_owned(), command.to_string()];
    let Ok(words) = words.map(CString::new).into_iter().collect() else {
        return Errno::INVAL;
    };
    let (arguments, environment) = (Strings::new(words), Strings::new(vec![]));
    process::execveat(program.as_fd(), &arguments, &environment)
}

/// All signals but those that a process causes for itself, and those that cannot be blocked.
fn forwarded() -> u64 {
    let own = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGABRT,
    ];
    own.into_iter()
        .fold(u64::MAX, |mask, signal| mask & !(1 << (signal - 1)))
}
