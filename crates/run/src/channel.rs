//! The line between box and the container's first process: messages over a socket pair, each sent and received as a whole.
//!
//! The child's end goes on to the sealed program (see [`crate::sealed`]), and closes when that executes the command, so "end of file" tells the parent that the command runs; the parent's end closes with
//! the parent, so the child learns of its death without a race.

pub(crate) mod progress;
mod step;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::hooks::failure::{HookEnd, HookFailure, Point};
use crate::sealed::layout::{self, Facts, HEAD, HOOK, MOST_READ};
pub use step::{Failed, Step};

/// The longest message: that a command could not be executed, with what its file looks like.
const SIZE: usize = HEAD + size_of::<Facts>() + MOST_READ;

/// The most descriptors that come with an order: a control group of each v1 hierarchy, and a sealed program.
pub const MOST_FILES: usize = 16 + 2;

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What the child says.
#[derive(Debug)]
pub enum Message {
    /// Set up; waits for [`Order::Go`]. With the master side of its terminal if it has one.
    Ready(Option<OwnedFd>),
    /// A step failed, and the child has exited.
    Failed(Failed),
    /// A hook that the child ran failed, and the child has exited.
    Hook(HookFailure),
    /// The command could not be executed, and the child has exited.
    NotExecuted {
        /// Which candidate of the plan.
        index: u16,
        /// What execve(2) said.
        errno: i32,
        /// What the file looks like.
        facts: Facts,
        /// How it begins, see [`crate::error::diagnosis`].
        head: Vec<u8>,
    },
    /// The process that joins a container is in there and waits for [`Order::Go`]. With what the kernel says of its sender: the pid
    /// for the receiver.
    Arrived(i32),
}

impl From<Failed> for Message {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// What the parent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// The child is in its control group, and its id maps are written. With the sealed program and its task, and then the files to
    /// get into the group by.
    Placed = 1,
    /// Execute the command.
    Go = layout::GO,
    /// The root file system comes with this, attached nowhere; without it the child is to mount it.
    Root = 3,
}

/// The parent's and the child's end.
pub fn pair() -> Result<(Channel, Channel), Errno> {
    let (parent, child) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((Channel(parent), Channel(child)))
}

impl Channel {
    /// Child to parent. Allocates nothing.
    pub fn send(&self, message: &Message) -> Result<(), Errno> {
        let (kind, second, index, number) = match message {
            Message::Ready(_) => (0, 0, 0, 0),
            Message::Failed(failed) => (
                layout::FAILED,
                failed.step as u8,
                failed.index,
                failed.errno.raw_os_error(),
            ),
            Message::Hook(failure) => {
                let (kind, number) = numbers(failure.end);
                (kind, failure.point as u8, failure.index, number)
            }
            // These are the sealed program's.
            Message::NotExecuted { .. } | Message::Arrived(_) => return Err(Errno::INVAL),
        };
        let mut bytes = [0u8; HEAD];
        bytes[0] = kind;
        bytes[1] = second;
        bytes[2..4].copy_from_slice(&index.to_ne_bytes());
        bytes[4..8].copy_from_slice(&number.to_ne_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors: [BorrowedFd<'_>; 1];
        if let Message::Ready(Some(terminal)) = message {
            descriptors = [terminal.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        sendmsg(
            &self.0,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .map(drop)
    }

    /// From now on the kernel says who sent a message. unix(7), SO_PASSCRED
    pub fn name_senders(&self) -> Result<(), Errno> {
        rustix::net::sockopt::set_socket_passcred(&self.0, true)
    }

    /// What the child says next; `None` when it executed the command or died. A container may have got hold of its end: whatever
    /// comes is read with care.
    pub fn receive(&self) -> Result<Option<Message>, Errno> {
        let mut bytes = [0u8; SIZE];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                // Told once when the child closed its end with an order unread; its message is still there.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                other => break other?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.bytes < HEAD {
            return Err(Errno::PROTO);
        }
        let (mut terminal, mut sender) = (None, 0);
        for message in ancillary.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => terminal = descriptors.next(),
                RecvAncillaryMessage::ScmCredentials(credentials) => {
                    sender = credentials.pid.as_raw_nonzero().get();
                }
                _ => {}
            }
        }
        let index = u16::from_ne_bytes([bytes[2], bytes[3]]);
        let number = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Ok(Some(match bytes[0] {
            0 => Message::Ready(terminal),
            layout::FAILED => {
                let step = Step::from_number(bytes[1]).unwrap_or(Step::Handshake);
                Message::Failed(Failed {
                    step,
                    index,
                    errno: error_number(number)?,
                })
            }
            layout::NOT_EXECUTED => {
                let (facts, head) = facts(&bytes[HEAD..received.bytes]).ok_or(Errno::PROTO)?;
                Message::NotExecuted {
                    index,
                    errno: error_number(number)?.raw_os_error(),
                    facts,
                    head: head.to_vec(),
                }
            }
            layout::ARRIVED => Message::Arrived(sender),
            kind @ HOOK..=layout::HOOK_TIMED_OUT => Message::Hook(HookFailure {
                point: Point::from_number(bytes[1]).ok_or(Errno::PROTO)?,
                index,
                end: hook_end(kind, number),
            }),
            _ => return Err(Errno::PROTO),
        }))
    }

    /// Parent to child, with at most [`MOST_FILES`] descriptors. A child that is gone is not an error here: its own
    /// message says why.
    pub fn order(&self, order: Order, files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(Errno::TOOBIG);
        }
        match sendmsg(
            &self.0,
            &[IoSlice::new(&[order as u8])],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Waits in the child for an order and hands over each descriptor that comes with it. The parent's death is
    /// [`Errno::PIPE`].
    pub fn await_order(
        &self,
        expected: Order,
        mut each: impl FnMut(OwnedFd) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut byte = [0u8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut byte)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        match received.bytes {
            0 => return Err(Errno::PIPE),
            _ if byte[0] != expected as u8 => return Err(Errno::PROTO),
            _ => {}
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                for file in files {
                    each(file)?;
                }
            }
        }
        Ok(())
    }

    /// This end, for the program that goes on with it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// In the child: makes this end descriptor `number`, so that all above it can be closed.
    pub fn move_to(self, number: i32) -> Result<Self, Errno> {
        let moved = crate::sys::process::move_owned(self.0, number)?;
        Ok(Self(moved))
    }

    /// Whether the other end is closed, without waiting.
    pub fn is_hung_up(&self) -> Result<bool, Errno> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut descriptors = [PollFd::new(&self.0, PollFlags::empty())];
        poll(
            &mut descriptors,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )?;
        Ok(descriptors[0].revents().contains(PollFlags::HUP))
    }
}

/// Of what came from outside: the kernel's numbers go up to 4095, and 0 is none.
fn error_number(number: i32) -> Result<Errno, Errno> {
    match number {
        1..=4095 => Ok(Errno::from_raw_os_error(number)),
        _ => Err(Errno::PROTO),
    }
}

/// The facts and the bytes of the file after them.
fn facts(bytes: &[u8]) -> Option<(Facts, &[u8])> {
    let (facts, head) = bytes.split_at_checked(size_of::<Facts>())?;
    let (mode, flags) = facts.split_at(size_of::<u32>());
    let number = |bytes: &[u8]| Some(u32::from_ne_bytes(bytes.try_into().ok()?));
    let facts = Facts {
        mode: number(mode)?,
        flags: number(flags)?,
    };
    Some((facts, head))
}

fn numbers(end: HookEnd) -> (u8, i32) {
    match end {
        HookEnd::NoState => (HOOK, 0),
        HookEnd::NotExecuted(errno) => (layout::HOOK_NOT_EXECUTED, errno.raw_os_error()),
        HookEnd::NotSeen(errno) => (layout::HOOK_NOT_SEEN, errno.raw_os_error()),
        HookEnd::Exited(status) => (layout::HOOK_EXITED, status),
        HookEnd::Signaled(signal) => (layout::HOOK_SIGNALED, signal),
        HookEnd::TimedOut => (layout::HOOK_TIMED_OUT, 0),
    }
}

fn hook_end(kind: u8, number: i32) -> HookEnd {
    let errno = error_number(number).unwrap_or(Errno::IO);
    match kind {
        layout::HOOK_NOT_EXECUTED => HookEnd::NotExecuted(errno),
        layout::HOOK_NOT_SEEN => HookEnd::NotSeen(errno),
        layout::HOOK_EXITED => HookEnd::Exited(number),
        layout::HOOK_SIGNALED => HookEnd::Signaled(number),
        layout::HOOK_TIMED_OUT => HookEnd::TimedOut,
        _ => HookEnd::NoState,
    }
}

#[cfg(test)]
mod tests;
