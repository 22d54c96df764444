//! The process's first lines. Rust's own runtime would read `/proc/self/maps` here to tell a stack overflow from other faults,
//! which a start of a container waits for. What else it does is done below.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{stderr, stdin, stdout};

/// What the C library calls. The arguments reach `std::env::args` by way of its initialisers.
// SAFETY: the signature is that of main in C, and no other symbol of the program has this name: `no_main` keeps Rust's out.
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _words: *const *const c_char) -> c_int {
    if !complete_descriptors() {
        return 125;
    }
    // A reader that has gone away is an error of write, and no death.
    // SAFETY: to ignore a signal installs no handler; nothing else runs yet. signal(2)
    if unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.is_err() {
        return 125;
    }
    // Flushes stdout and ends the process.
    std::process::exit(i32::from(crate::begin()))
}

/// Makes sure that descriptors 0, 1 and 2 are open: otherwise the next file that is opened would be taken for stdout.
fn complete_descriptors() -> bool {
    let mut three = [stdin(), stdout(), stderr()]
        .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::empty()));
    if poll(&mut three, Some(&Timespec::default())).is_err() {
        return false;
    }
    three.iter().all(|descriptor| {
        // The lowest number that is free is the one that is missing.
        !descriptor.revents().contains(PollFlags::NVAL)
            || open(c"/dev/null", OFlags::RDWR, Mode::empty())
                .map(std::mem::forget)
                .is_ok()
    })
}
