//! Executes the command, or reports why that is not possible.

use crate::layout::{self, Facts, HEAD, Task};
use crate::message::{MESSAGE, report};
use crate::system::{
    AT_FDCWD, CLOEXEC, EACCES, EINVAL, ELIBBAD, ENOENT, ENOEXEC, ENOTDIR, NOT_SET_UP, call, exit,
    number,
};

/// Tries the candidates in order. If none can be executed, reports why.
pub fn execute(task: &Task) -> ! {
    // SAFETY: an array in the task that ends with 0.
    let candidate = |at: usize| unsafe { *(task.candidates as *const usize).add(at) };
    let many = candidate(0) != 0 && candidate(1) != 0;
    let mut refused = None;
    let mut at = 0;
    while candidate(at) != 0 {
        let path = candidate(at);
        match call(number::EXECVE, [path, task.arguments, task.environment, 0]) {
            ENOENT | ENOTDIR if !exists(path) => {}
            // As in shells, the search continues, and this error is reported if nothing else is found.
            EACCES if many => refused = refused.or(Some(at)),
            error => not_executed(task, at, error),
        }
        at += 1;
    }
    match refused {
        Some(at) => not_executed(task, at, EACCES),
        None => {
            // SAFETY: the program has one thread, and no reference to the message lives; facts of a file that does not exist are zeroes.
            unsafe { MESSAGE[HEAD..HEAD + size_of::<Facts>()].fill(0) };
            report(
                task,
                layout::NOT_EXECUTED,
                0,
                0,
                -ENOENT,
                size_of::<Facts>(),
            );
            exit(NOT_SET_UP)
        }
    }
}

fn exists(path: usize) -> bool {
    call(number::FACCESSAT, [AT_FDCWD, path, 0, 0]) == 0
}

/// Reports the facts about the file, from which box makes the message.
fn not_executed(task: &Task, at: usize, error: isize) -> ! {
    // SAFETY: an array in the task, in which this one is.
    let path = unsafe { *(task.candidates as *const usize).add(at) };
    let mut facts = Facts { mode: 0, flags: 0 };
    // Room for the kernel's struct stat and struct statfs, which are shorter; then the offset of st_mode.
    let mut space = [0usize; 32];
    let mode = if cfg!(target_arch = "x86_64") { 24 } else { 16 };
    let place = &raw mut space as usize;
    if call(number::NEWFSTATAT, [AT_FDCWD, path, place, 0]) == 0 {
        facts.flags |= layout::EXISTS;
        facts.mode = (space[mode / 8] >> (mode % 8 * 8)) as u32;
    }
    const NOEXEC: usize = 8;
    if call(number::STATFS, [path, place, 0, 0]) == 0 && space[10] & NOEXEC != 0 {
        facts.flags |= layout::ON_NOEXEC;
    }
    let mut length = size_of::<Facts>();
    // Devices and pipes are not read.
    if matches!(error, ENOENT | ENOEXEC | EINVAL | ELIBBAD) && facts.mode & 0o170_000 == 0o100_000 {
        facts.flags |= libraries();
        const NONBLOCK: usize = 0o4000;
        let file = call(number::OPENAT, [AT_FDCWD, path, NONBLOCK | CLOEXEC, 0]);
        let into = (&raw mut MESSAGE as usize) + HEAD + length;
        let read = match file {
            file if file >= 0 => call(number::READ, [file as usize, into, layout::MOST_READ, 0]),
            error => error,
        };
        if read >= 0 {
            facts.flags |= layout::WAS_READ;
            length += read as usize;
        }
    }
    // SAFETY: the program has one thread, and no reference to the message lives; there is room for the facts after its head.
    unsafe { ((&raw mut MESSAGE as usize + HEAD) as *mut Facts).write_unaligned(facts) };
    report(task, layout::NOT_EXECUTED, 0, at as u16, -error, length);
    exit(NOT_SET_UP)
}

/// The C libraries of the image, by their loaders at the paths that distributions use.
fn libraries() -> u32 {
    let exists = |path: &core::ffi::CStr| exists(path.as_ptr() as usize);
    let musl = exists(c"/lib/ld-musl-x86_64.so.1")
        || exists(c"/lib/ld-musl-aarch64.so.1")
        || exists(c"/lib/ld-musl-i386.so.1")
        || exists(c"/lib/ld-musl-armhf.so.1");
    let glibc = exists(c"/lib64/ld-linux-x86-64.so.2")
        || exists(c"/lib/ld-linux-aarch64.so.1")
        || exists(c"/lib/ld-linux.so.2")
        || exists(c"/lib/ld-linux-armhf.so.3");
    (if musl { layout::HAS_MUSL } else { 0 }) | (if glibc { layout::HAS_GLIBC } else { 0 })
}
