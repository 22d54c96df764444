//! `--init`: PID 1 that passes signals on to the command and reaps what is left to it. It is this process, forked
//! once more: nothing is executed, and nothing of the image is in it.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, getpid, set_dumpable_behavior, setpgid};
use rustix::stdio::stdin;
use rustix::termios::tcsetpgrp;

use crate::ExitStatus;
use crate::channel::{Failed, Step};
use crate::sys::process;

/// Returns in the command's process; PID 1 stays in here until that has ended. Descriptors are closed with it: end of file
/// on the parent's line then means that the command was executed.
pub(crate) fn split() -> Result<(), Failed> {
    let forward = forwarded();
    // Blocked before the fork, so that no signal finds PID 1 deaf.
    process::set_signal_mask(forward).map_err(Step::Fork.failed(0))?;
    match process::fork().map_err(Step::Fork.failed(1))? {
        None => {
            // A job of its own, in the foreground if there is a terminal, so that Control-C reaches it and not PID 1.
            setpgid(None, None).map_err(Step::Fork.failed(2))?;
            match tcsetpgrp(stdin(), getpid()) {
                Ok(()) | Err(Errno::NOTTY | Errno::BADF | Errno::PERM) => {}
                Err(errno) => return Err(Step::Fork.failed(3)(errno)),
            }
            process::set_signal_mask(0)
                .map(drop)
                .map_err(Step::Fork.failed(4))
        }
        Some(pid) => {
            // The change of user may have undone it. What stays is a copy of box, which no one may look into.
            set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Step::Fork.failed(5))?;
            process::close_from(0).map_err(Step::Fork.failed(6))?;
            stand_by(pid, forward)
        }
    }
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

fn stand_by(command: i32, forward: u64) -> ! {
    loop {
        let signal = process::wait_signal(forward);
        if signal != libc::SIGCHLD {
            process::kill(command, signal);
            continue;
        }
        while let Ok(Some((pid, status))) = process::reap() {
            if pid == command {
                let code = match status {
                    ExitStatus::Exited(code) => code,
                    ExitStatus::Signaled(signal) => signal.saturating_add(128),
                };
                // The kernel ends what is left in this pid namespace.
                process::exit(code)
            }
        }
    }
}
