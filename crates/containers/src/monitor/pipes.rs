//! The pipes for stdout and stderr of a detached container without a terminal.
//!
//! The container cannot affect the monitor through its ends: it can change their mode, owner and flags, but O_NONBLOCK of the monitor's
//! ends belongs to their own open files. It may open its pipes for reading and take back output that was not read yet. Output that
//! comes faster than the disk takes it stays in the pipes, whose memory is charged to the container's control group.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, pipe_with};

use crate::logs::{Stream, Writer};

/// Bytes per read: the capacity of a pipe.
const BUFFER: usize = 64 << 10;

/// Reads of one pipe before the other files are handled.
const ROUNDS: usize = 4;

/// The monitor's ends; `None` for a stream that the container has closed.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pipes: [Option<OwnedFd>; 2],
}

impl Pipes {
    /// Creates the pipes for `owner`, a user and a group of the host. Returns the container's ends as well.
    pub(super) fn new(owner: (u32, u32)) -> Result<(Self, [OwnedFd; 2]), Errno> {
        let ((ours_out, theirs_out), (ours_err, theirs_err)) = (pipe(owner)?, pipe(owner)?);
        let pipes = [Some(ours_out), Some(ours_err)];
        Ok((Self { pipes }, [theirs_out, theirs_err]))
    }

    /// Adds the open pipes to poll.
    pub(super) fn add_to_poll<'a>(&'a self, files: &mut Vec<PollFd<'a>>) {
        let open = self.pipes.iter().flatten();
        files.extend(open.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    }

    /// Reads the ready pipes, in the order of [`Pipes::add_to_poll`]. Returns the rest of `ready`.
    pub(super) fn handle<'a>(
        &mut self,
        mut ready: &'a [PollFlags],
        log: &mut Option<Writer>,
    ) -> Result<&'a [PollFlags], Errno> {
        for (pipe, stream) in self.pipes.iter_mut().zip(Stream::BOTH) {
            let (Some(open), Some((flags, others))) = (pipe.as_ref(), ready.split_first()) else {
                continue;
            };
            ready = others;
            if !flags.is_empty() && !pump(open, stream, BUFFER * ROUNDS, log)? {
                *pipe = None;
            }
        }
        Ok(ready)
    }

    /// Reads the remaining output, at most the capacity of the pipes: another process may have the container's ends and still write.
    pub(super) fn drain(&mut self, log: &mut Option<Writer>) -> Result<(), Errno> {
        for (pipe, stream) in self.pipes.iter_mut().zip(Stream::BOTH) {
            if let Some(open) = pipe.take() {
                let held = fcntl_getpipe_size(&open)?;
                pump(&open, stream, held, log)?;
            }
        }
        Ok(())
    }
}

/// Lets any user of the container open the pipe by its name in /proc, such as a worker that has given up root.
fn pipe((uid, gid): (u32, u32)) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let flags = rustix::fs::fcntl_getfl(&ours)?;
    rustix::fs::fcntl_setfl(&ours, flags | OFlags::NONBLOCK)?;
    fchmod(&theirs, Mode::from_raw_mode(0o622))?;
    fchown(
        theirs.as_fd(),
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
    )?;
    Ok((ours, theirs))
}

/// Reads at most about `most` bytes into the log. Returns false if the container has closed the stream.
#[inline(never)]
fn pump(
    pipe: &OwnedFd,
    stream: Stream,
    most: usize,
    log: &mut Option<Writer>,
) -> Result<bool, Errno> {
    // On the stack, which the idle supervisor returns to the kernel.
    let mut buffer = [0u8; BUFFER];
    let mut copied = 0;
    while copied < most {
        match rustix::io::read(pipe, &mut buffer[..]) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                copied += length;
                if let Some(log) = log {
                    log.write(stream, &buffer[..length]);
                }
            }
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(true)
}
