//! Runs hooks in the container, just before the command.

use crate::layout::{self, Hook, Operation, Task};
use crate::message::report;
use crate::system::{
    AT_FDCWD, CLOEXEC, EINTR, NOT_SET_UP, PIDFD_OPEN, Poll, SET_SIZE, SIGCHLD, SIGKILL, call,
    call6, ended_by, exit, number, wait,
};

/// Runs a hook. If it fails, reports that and exits.
pub fn run(task: &Task, operation: &Operation, hook: &Hook) -> isize {
    let failed = |kind: u8, number: isize| -> ! {
        report(task, kind, hook.point as u8, operation.index, number, 0);
        exit(NOT_SET_UP)
    };
    let not_seen = |result: isize| {
        if result < 0 {
            failed(layout::HOOK_NOT_SEEN, -result)
        }
        result as usize
    };
    let (mut input, mut outcome) = ([0i32; 2], [0i32; 2]);
    for pipe in [&mut input, &mut outcome] {
        not_seen(call(
            number::PIPE2,
            [&raw mut *pipe as usize, CLOEXEC, 0, 0],
        ));
    }
    // Written before there is a reader that could close its end. The state is shorter than a pipe's buffer, so this does not block.
    let state = [input[1] as usize, hook.state, hook.length, 0];
    not_seen(call(number::WRITE, state));
    let pid = not_seen(call6(number::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]));
    if pid == 0 {
        become_hook(hook, input[0] as usize, outcome[1] as usize);
    }
    for end in [input[0], input[1], outcome[1]] {
        call(number::CLOSE, [end as usize, 0, 0, 0]);
    }
    let mut error = 0i32;
    let place = &raw mut error as usize;
    let length = call(number::READ, [outcome[0] as usize, place, 4, 0]);
    call(number::CLOSE, [outcome[0] as usize, 0, 0, 0]);
    let in_time = hook.limit == 0 || length != 0 || ends_within(not_seen, pid, hook.limit);
    if !in_time {
        call(number::KILL, [pid, SIGKILL, 0, 0]);
    }
    let mut status = 0i32;
    let reaped = loop {
        match wait(pid, &mut status, 0) {
            EINTR => {}
            reaped => break reaped,
        }
    };
    not_seen(reaped);
    if length > 0 {
        failed(layout::HOOK_NOT_EXECUTED, error as isize)
    }
    if !in_time {
        failed(layout::HOOK_TIMED_OUT, 0)
    }
    match ended_by(status) {
        Ok(0) => 0,
        Ok(code) => failed(layout::HOOK_EXITED, code as isize),
        Err(signal) => failed(layout::HOOK_SIGNALED, signal as isize),
    }
}

/// Executes the hook in the child, with its output discarded.
fn become_hook(hook: &Hook, input: usize, outcome: usize) -> ! {
    const READ_WRITE: usize = 2;
    let null = c"/dev/null".as_ptr() as usize;
    let mut result = call(number::OPENAT, [AT_FDCWD, null, READ_WRITE | CLOEXEC, 0]);
    if result >= 0 {
        result = call(number::DUP3, [result as usize, 1, 0, 0]);
    }
    if result >= 0 {
        result = call(number::DUP3, [input, 0, 0, 0]);
    }
    if result >= 0 {
        result = call(
            number::EXECVE,
            [hook.path, hook.arguments, hook.environment, 0],
        );
    }
    let error = -result as i32;
    call(number::WRITE, [outcome, &raw const error as usize, 4, 0]);
    exit(127)
}

fn ends_within(not_seen: impl Fn(isize) -> usize, pid: usize, seconds: usize) -> bool {
    let file = not_seen(call(PIDFD_OPEN, [pid, 0, 0, 0]));
    let mut poll = Poll {
        file: file as i32,
        wanted: 1,
        found: 0,
    };
    // The kernel writes the remaining time back, ppoll(2).
    let mut limit = [seconds, 0];
    let ready = loop {
        let arguments = [
            &raw mut poll as usize,
            1,
            &raw mut limit as usize,
            0,
            SET_SIZE,
            0,
        ];
        match call6(number::PPOLL, arguments) {
            EINTR => {}
            ready => break not_seen(ready),
        }
    };
    call(number::CLOSE, [file, 0, 0, 0]);
    ready > 0
}
