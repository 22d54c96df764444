//! The first code of the process. Rust's own runtime reads `/proc/self/maps` at this point, in order to recognise stack overflows,
//! and every start of a container would wait for that. The rest of what it does is done here.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{stderr, stdin, stdout};

/// The entry point that the C library calls. Its initialisers hand the arguments to `std::env::args`.
// SAFETY: the signature is that of main in C, and no other symbol of the program has this name: `no_main` keeps Rust's out.
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _words: *const *const c_char) -> c_int {
    if !complete_descriptors() {
        return 125;
    }
    // Writing to a closed pipe must return an error, not kill the process.
    // SAFETY: ignoring a signal installs no handler, and no other code runs yet, signal(2).
    if unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.is_err() {
        return 125;
    }
    // `exit` flushes stdout.
    std::process::exit(i32::from(crate::begin()))
}

/// Opens descriptors 0, 1 and 2 where they are closed: otherwise the next file that is opened would be used as stdin, stdout or stderr.
fn complete_descriptors() -> bool {
    let mut three = [stdin(), stdout(), stderr()]
        .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::empty()));
    if poll(&mut three, Some(&Timespec::default())).is_err() {
        return false;
    }
    three.iter().all(|descriptor| {
        // open(2) returns the lowest free number, which is the missing one.
        !descriptor.revents().contains(PollFlags::NVAL)
            || open(c"/dev/null", OFlags::RDWR, Mode::empty())
                .map(std::mem::forget)
                .is_ok()
    })
}
