//! stdout and stderr of a detached container without a terminal: two pipes, whose other ends the container has.
//!
//! What it does to its ends reaches nothing of ours. Their mode, owner and flags are theirs; ours cannot be made to block, as
//! that flag belongs to the open end. It may open its pipes for reading and take back what has not been read here yet. What it writes
//! faster than the disk takes it waits in the pipes, whose memory is charged to its control group.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, pipe_with};

use crate::logs::{Stream, Writer};

/// Bytes that are read at once: what a pipe holds.
const BUFFER: usize = 64 << 10;

/// How often that is done before others have their turn.
const ROUNDS: usize = 4;

/// Our ends; `None` for one that the container has closed.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pipes: [Option<OwnedFd>; 2],
}

impl Pipes {
    /// Makes the pipes, which belong to `owner`, a user and a group of the host. Returns the container's ends as well.
    pub(super) fn new(owner: (u32, u32)) -> Result<(Self, [OwnedFd; 2]), Errno> {
        let ((ours_out, theirs_out), (ours_err, theirs_err)) = (pipe(owner)?, pipe(owner)?);
        let pipes = [Some(ours_out), Some(ours_err)];
        Ok((Self { pipes }, [theirs_out, theirs_err]))
    }

    /// Adds what is waited for: those that are open.
    pub(super) fn add_to_poll<'a>(&'a self, files: &mut Vec<PollFd<'a>>) {
        let open = self.pipes.iter().flatten();
        files.extend(open.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    }

    /// Reads what is ready, in the order of [`Pipes::add_to_poll`]. Returns what of `ready` is for others.
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

    /// Reads what the container left behind: as much as the pipes can hold, as somebody else may have been given the container's
    /// ends and write still.
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

/// For any user of the container to open by its name in /proc, such as a worker that is no longer root.
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

/// Copies at most about `most` bytes. False: the container has closed the stream.
#[inline(never)]
fn pump(
    pipe: &OwnedFd,
    stream: Stream,
    most: usize,
    log: &mut Option<Writer>,
) -> Result<bool, Errno> {
    // On the stack, which is given back when nothing happens for a while.
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
