//! Kills a container whose box was killed.
//!
//! A process can ask for a signal at its parent's death (`PR_SET_PDEATHSIG`), but it can also cancel that, and the kernel cancels
//! it when the process changes its user or executes a set-user-ID program, prctl(2). So a second process that no container can
//! reach stands guard. It sleeps, and shares all but a few pages of memory with box.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::session;
use super::supervised::Supervised;
use crate::sys::memory;
use crate::sys::process::{self as sys, Cloned};

/// A process that kills a container when this process is killed. It ends on drop, or when the container has ended.
#[derive(Debug)]
pub(super) struct Guard(OwnedFd);

impl Guard {
    /// Guards a process and everything in its control group. A process that joined a container has no group of its own: it and the
    /// processes it starts are guarded. The caller must have one thread.
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
        // It may have ended already. Either way it is reaped.
        let _ = sys::send_signal(self.0.as_fd(), libc::SIGKILL);
        let _ = sys::wait(self.0.as_fd());
    }
}

fn stand_by(caller: OwnedFd, stood_by: &Supervised<'_>) -> Result<(), Errno> {
    // Signals to box's job, or to all processes of its name, are box's to handle.
    sys::set_signal_mask(u64::MAX)?;
    rustix::process::setsid()?;
    let watched = stood_by.pidfd.try_clone_to_owned();
    let watched = watched.map_err(|_| Errno::MFILE)?;
    // Holds no descriptor of box, so that box's locks are released and its output ends when box dies.
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
        // A process that joined ends before the processes it started. Its pidfd stays readable and is not polled again.
        both = 1;
    }
    let Some(group) = stood_by.group else {
        return session::kill_session(stood_by.pid);
    };
    sys::send_signal(watched.as_fd(), libc::SIGKILL)?;
    // Without a pid namespace of its own, the other processes of the container would live on.
    group.kill().map_err(|_| Errno::BUSY)
}
