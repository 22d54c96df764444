//! PID 1 with `--init`: passes signals on to the command and reaps what is left to it.

use crate::system::{
    CLOSE_RANGE, EINTR, NOT_SET_UP, SET_SIZE, SIGCHLD, WNOHANG, call, call6, ended_by, exit, number,
    wait,
};

/// Goes on in the child; what is PID 1 stays and does not return.
pub fn split(forwarded: usize) -> isize {
    const SET_MASK: usize = 2;
    // Blocked before the fork, so that no signal finds PID 1 deaf.
    let set = |mask: usize| {
        let place = &raw const mask as usize;
        call(number::RT_SIGPROCMASK, [SET_MASK, place, 0, SET_SIZE])
    };
    let blocked = set(forwarded);
    if blocked < 0 {
        return blocked;
    }
    match call6(number::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) {
        0 => {
            // A job of its own, in the foreground if there is a terminal, so that Control-C reaches it and not PID 1.
            const SET_FOREGROUND: usize = 0x5410;
            let result = call(number::SETPGID, [0, 0, 0, 0]);
            if result < 0 {
                return result;
            }
            let own = call(number::GETPID, [0, 0, 0, 0]) as i32;
            // Without a terminal of this session there is nothing to do.
            call(
                number::IOCTL,
                [0, SET_FOREGROUND, &raw const own as usize, 0],
            );
            set(0)
        }
        pid if pid > 0 => reap_and_forward(pid as usize, forwarded),
        error => error,
    }
}

fn reap_and_forward(command: usize, forwarded: usize) -> ! {
    // Those of the command: it holds them itself.
    call(CLOSE_RANGE, [0, u32::MAX as usize, 0, 0]);
    // As any program is that was just executed: a change of user has taken that away, prctl(2).
    const SET_DUMPABLE: usize = 4;
    call(number::PRCTL, [SET_DUMPABLE, 1, 0, 0]);
    const SET_NAME: usize = 15;
    let name = c"box-init".as_ptr() as usize;
    call(number::PRCTL, [SET_NAME, name, 0, 0]);
    let set = &raw const forwarded as usize;
    loop {
        match call(number::RT_SIGTIMEDWAIT, [set, 0, 0, SET_SIZE]) {
            EINTR => {}
            signal if signal == SIGCHLD as isize => reap(command, WNOHANG),
            signal if signal > 0 => {
                call(number::KILL, [command, signal as usize, 0, 0]);
            }
            // A filter that does not let us wait for signals: none are passed on, and what ends is reaped all the same.
            _ => reap(command, 0),
        }
    }
}

/// Reaps all that have ended; if the command has, its end is ours, and the kernel ends what is left in the pid namespace.
/// Without `WNOHANG` it waits until then, and does not return.
fn reap(command: usize, options: usize) {
    loop {
        let mut status = 0i32;
        let pid = wait(usize::MAX, &mut status, options);
        if pid == EINTR {
            continue;
        }
        if pid <= 0 {
            if options == WNOHANG {
                return;
            }
            // Waiting is forbidden as well, so that the command's end would never be seen.
            exit(NOT_SET_UP)
        }
        if pid as usize == command {
            exit(match ended_by(status) {
                Ok(code) => code as usize,
                Err(signal) => 128 + signal as usize,
            })
        }
    }
}
