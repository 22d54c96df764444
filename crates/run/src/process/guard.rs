//! The end of a container whose box is killed.
//!
//! A process gets a signal when its parent dies (`PR_SET_PDEATHSIG`), but only as long as it wants to: it can switch that
//! off, and the kernel does when the process changes its user or executes a set-user-ID program, prctl(2). So a second
//! process stands by that no container reaches. It sleeps, and shares box's memory but for a few pages.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::session;
use super::supervised::Supervised;
use crate::sys::memory;
use crate::sys::process::{self as sys, Cloned};

/// Kills a container when this process is killed. Dropped, it goes; it goes by itself when the container has ended.
#[derive(Debug)]
pub(super) struct Guard(OwnedFd);

impl Guard {
    /// Stands by the process and everything in its control group; by one that joined a container, and so has none of its
    /// own, and what it starts. The caller must have one thread.
    pub(super) fn stand(watched: &Supervised<'_>) -> Result<Self, Errno> {
        let caller = pidfd_open(getpid(), PidfdFlags::empty())?;
        match sys::clone3(0, None)? {
            Cloned::Parent { pidfd, .. } => Ok(Self(pidfd)),
            Cloned::Child => sys::exit(u8::from(stand_by(caller, watched).is_err())),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have gone by itself; either way it is reaped.
        let _ = sys::send_signal(self.0.as_fd(), libc::SIGKILL);
        let _ = sys::wait(self.0.as_fd());
    }
}

fn stand_by(caller: OwnedFd, stood_by: &Supervised<'_>) -> Result<(), Errno> {
    // What is sent to box and its job, or to all processes of that name, is box's to answer.
    sys::set_signal_mask(u64::MAX)?;
    rustix::process::setsid()?;
    let watched = stood_by.pidfd.try_clone_to_owned();
    let watched = watched.map_err(|_| Errno::MFILE)?;
    // Nothing of box is held: its locks are free when it is gone, and its output ends with it.
    let caller = sys::move_owned(caller, 0)?;
    let watched = sys::move_owned(watched, 1)?;
    sys::close_from(2)?;
    rustix::process::chdir(c"/")?;
    memory::release()?;
    let mut both = 2;
    loop {
        let mut files = [
            PollFd::new(&caller, PollFlags::IN),
            PollFd::new(&watched, PollFlags::IN),
        ];
        match poll(&mut files[..both], None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        if !files[0].revents().is_empty() {
            break;
        }
        if stood_by.group.is_some() {
            return Ok(());
        }
        // One that joined ends before what it started. Its descriptor stays readable, and is not looked at again.
        both = 1;
    }
    let Some(group) = stood_by.group else {
        return session::kill_session(stood_by.pid);
    };
    sys::send_signal(watched.as_fd(), libc::SIGKILL)?;
    // Without a pid namespace of its own the rest of the container lives on.
    group.kill().map_err(|_| Errno::BUSY)
}
