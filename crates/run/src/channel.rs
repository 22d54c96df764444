//! The channel between box and the container's first process: a socket pair that carries whole messages.
//!
//! The child hands its end to the sealed program (see [`crate::sealed`]). It closes when that executes the command, so end of file
//! means to the parent that the command runs. The parent's end closes with the parent, so the child learns of its death without a
//! race.

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

/// The length of the longest message, `NotExecuted`.
const SIZE: usize = HEAD + size_of::<Facts>() + MOST_READ;

/// The most descriptors that an order carries: a control group of each v1 hierarchy, and a sealed program with its task.
pub const MOST_FILES: usize = 16 + 2;

/// One end of the socket pair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A message from the child.
#[derive(Debug)]
pub enum Message {
    /// The set-up is done and the child waits for [`Order::Go`]; or, with a descriptor, the master side of its terminal.
    Ready(Option<OwnedFd>),
    /// A step failed, and the child has exited.
    Failed(Failed),
    /// A hook that the child ran failed, and the child has exited.
    Hook(HookFailure),
    /// The command could not be executed, and the child has exited.
    NotExecuted {
        /// The index of the candidate path in the plan.
        index: u16,
        /// The error number of execve(2).
        errno: i32,
        /// The properties of the file.
        facts: Facts,
        /// The first bytes of the file, see [`crate::error::diagnosis`].
        head: Vec<u8>,
    },
    /// The joining process is in the container and waits for [`Order::Go`]. The kernel adds the sender's pid, in the receiver's pid
    /// namespace.
    Arrived(i32),
}

impl From<Failed> for Message {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// An order from the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// The id maps are written and the control group exists. Carries the sealed program and its task, and on v1 the files by which
    /// the child enters the group.
    Placed = 1,
    /// Execute the command.
    Go = layout::GO,
    /// Carries the root file system as a detached mount. Without one the child mounts it itself.
    Root = 3,
}

/// Makes the parent's and the child's end.
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
    /// Sends from child to parent. Does not allocate.
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
            // Only the sealed program sends these.
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

    /// Has the kernel add the sender's credentials to each message. unix(7), SO_PASSCRED
    pub fn name_senders(&self) -> Result<(), Errno> {
        rustix::net::sockopt::set_socket_passcred(&self.0, true)
    }

    /// Receives the child's next message; `None` when it has executed the command or died. The container may have got hold of the
    /// child's end, so nothing in a message is trusted.
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
                // Reported once if the child closed its end with an order unread. Its messages can still be received.
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

    /// Sends from parent to child, with at most [`MOST_FILES`] descriptors. A child that has ended is not an error here: its own
    /// message gives the reason.
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

    /// Waits in the child for an order, and passes each of its descriptors to `each`. [`Errno::PIPE`] if the parent has died.
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

    /// The descriptor, for the sealed program.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// In the child: moves this end to descriptor `number`, so that all higher ones can be closed.
    pub fn move_to(self, number: i32) -> Result<Self, Errno> {
        let moved = crate::sys::process::move_owned(self.0, number)?;
        Ok(Self(moved))
    }

    /// Whether the other end is closed. Does not wait.
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

/// Checks an error number from a message: the kernel's are 1 to 4095.
fn error_number(number: i32) -> Result<Errno, Errno> {
    match number {
        1..=4095 => Ok(Errno::from_raw_os_error(number)),
        _ => Err(Errno::PROTO),
    }
}

/// Splits off the facts from the bytes of the file after them.
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
