//! The caller's terminal in raw mode.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, Once};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr};

/// Whether this process may read from the terminal on standard input and set its modes: it is in the foreground, or there is no job
/// control for it. True for what is no terminal.
pub fn is_ours() -> bool {
    // Only the controlling terminal of our session has a group for us, tcgetpgrp(3).
    tcgetpgrp(stdin()).map_or(true, |foreground| foreground == getpgrp())
}

/// The caller's terminal in raw mode, whenever it is ours. Put back on drop, and by the panic hook, as a panic may end the process
/// without dropping anything.
#[derive(Debug)]
pub struct RawMode {
    /// It was not ours when last looked at.
    away: Cell<bool>,
}

/// How long until box looks again whether its terminal has become its own: of a job that was not stopped, bash's `fg` sends no signal.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What to put back, and where.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
static HOOK: Once = Once::new();

impl RawMode {
    /// Puts standard input into raw mode, at once or when box comes to the foreground. `None` if it is not a terminal. SIGTTOU is
    /// blocked, see [`crate::signals`].
    pub fn enter() -> Result<Option<Self>, Errno> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                next(panic);
            }));
        });
        let guard = Self {
            away: Cell::new(true),
        };
        guard.resume()?;
        Ok(Some(guard))
    }

    /// The same after box has been stopped, or was in the background: its shell has set the terminal up meanwhile.
    pub fn resume(&self) -> Result<(), Errno> {
        self.away.set(!is_ours());
        if self.away.get() {
            return Ok(());
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        {
            let mut saved = SAVED
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if saved.is_none() {
                let terminal = rustix::io::fcntl_dupfd_cloexec(stdin(), 3)?;
                *saved = Some((terminal, before));
            }
        }
        // Drain: what was typed before is still meant for the line discipline of before.
        tcsetattr(stdin(), OptionalActions::Drain, &raw)
    }

    /// The same if box has come to the foreground and nobody told it. True: it has.
    pub fn catch_up(&self) -> Result<bool, Errno> {
        let was_away = self.away.replace(!is_ours());
        let back = was_away && !self.away.get();
        if back {
            self.resume()?;
        }
        Ok(back)
    }

    /// Whether it is to be looked at again, after [`LOOK_AGAIN`].
    pub fn is_away(&self) -> bool {
        self.away.get()
    }

    /// Stops box as a job of its shell, as SIGTSTP would. Returns when it goes on; then SIGCONT is pending.
    pub fn stop(&self) -> Result<(), Errno> {
        restore();
        self.away.set(true);
        kill_process(getpid(), Signal::STOP)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let saved = SAVED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    // In the background it is somebody else's by now. One that is gone needs nothing.
    if let Some((terminal, before)) = saved
        && is_ours()
    {
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}
