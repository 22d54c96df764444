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
/// control. True if standard input is not a terminal.
pub fn is_ours() -> bool {
    // Only the controlling terminal of this session has a foreground group, tcgetpgrp(3).
    tcgetpgrp(stdin()).map_or(true, |foreground| foreground == getpgrp())
}

/// The caller's terminal in raw mode, while box is in the foreground. It is restored on drop, and by a panic hook, because a
/// release build aborts on a panic and drops nothing.
#[derive(Debug)]
pub struct RawMode {
    /// Box was in the background at the last check.
    away: Cell<bool>,
}

/// How often to check whether box has come to the foreground: bash's `fg` sends no signal to a job that was not stopped.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The terminal and the modes to restore.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
static HOOK: Once = Once::new();

impl RawMode {
    /// Puts standard input into raw mode, at once or when box comes to the foreground. `None` if it is not a terminal. SIGTTOU must
    /// be blocked, see [`crate::signals`].
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

    /// Enters raw mode again after box was stopped or in the background: its shell has changed the terminal meanwhile.
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
        // Drain: output written so far still goes through the old modes.
        tcsetattr(stdin(), OptionalActions::Drain, &raw)
    }

    /// Enters raw mode again if box has come to the foreground without a signal. Returns true if it has.
    pub fn catch_up(&self) -> Result<bool, Errno> {
        let was_away = self.away.replace(!is_ours());
        let back = was_away && !self.away.get();
        if back {
            self.resume()?;
        }
        Ok(back)
    }

    /// Whether box is in the background, and should check again after [`LOOK_AGAIN`].
    pub fn is_away(&self) -> bool {
        self.away.get()
    }

    /// Stops box as a job of its shell, as SIGTSTP would. Returns when box continues, with SIGCONT pending.
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
    // In the background another job uses the terminal. A terminal that is gone needs no restoring.
    if let Some((terminal, before)) = saved
        && is_ours()
    {
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}
