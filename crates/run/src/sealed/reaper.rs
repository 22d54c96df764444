//! The init process, PID 1: forwards signals to the command and reaps orphans.

use crate::system::{
    CLOSE_RANGE, EINTR, NOT_SET_UP, SET_SIZE, SIGCHLD, WNOHANG, call, call6, ended_by, exit, number,
    wait,
};

/// Continues in the child. In PID 1 it does not return.
pub fn split(forwarded: usize) -> isize {
    const SET_MASK: usize = 2;
    // Blocked before the fork, so that PID 1 loses no signal.
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
            // The command gets a job of its own, in the foreground if there is a terminal, so that Control-C reaches it and not PID
            // 1.
            const SET_FOREGROUND: usize = 0x5410;
            let result = call(number::SETPGID, [0, 0, 0, 0]);
            if result < 0 {
                return result;
            }
            let own = call(number::GETPID, [0, 0, 0, 0]) as i32;
            // This fails without a controlling terminal, where it is not needed.
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
    // Closes the command's descriptors, which the command holds itself.
    call(CLOSE_RANGE, [0, u32::MAX as usize, 0, 0]);
    // Dumpable, as after any exec: the change of the user has cleared that, prctl(2).
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
            // The filter forbids waiting for signals: none is forwarded, but processes are still reaped.
            _ => reap(command, 0),
        }
    }
}

/// Reaps ended processes. When the command has ended, exits with its status, and the kernel kills all others in the pid namespace.
/// Without `WNOHANG` it waits until then and does not return.
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
            // The filter forbids waiting as well, so the command's end would never be noticed.
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
