//! Terminals: the container's own, and the caller's, which is put into raw mode and back whatever happens.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Uid, fchown, fstat, fstatfs, open, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr, tcsetwinsize,
};

use crate::devices::null::is_null;
use crate::sys::process::move_descriptor;

/// A pipe that lies in no directory: one with a name stays whose it is, for it outlives us.
fn is_nameless_pipe(file: BorrowedFd<'_>, found: &Stat) -> Result<bool, Errno> {
    // linux/magic.h
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::Fifo
        && fstatfs(file)?.f_type as u64 == PIPEFS_MAGIC)
}

/// Takes a new terminal from a devpts of our own: no path of the image is involved (CVE-2025-52565). If `dev` is the file system
/// on /dev, the terminal is shown there as `console`. Returns the master side and the terminal. In the child.
pub fn allocate(
    devpts: BorrowedFd<'_>,
    dev: Option<BorrowedFd<'_>>,
) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(devpts, c"ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    let terminal = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if let Some(size) = caller_size() {
        tcsetwinsize(&master, size)?;
    }
    if let Some(dev) = dev {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(dev, c"console", flags, Mode::from_raw_mode(0o600))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&terminal, c"", flags)?;
        move_mount(
            &tree,
            c"",
            dev,
            c"console",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?;
    }
    Ok((master, terminal))
}

/// Makes the terminal, if there is one, descriptors 0, 1 and 2. Without one, pipes without a name are given to
/// the user so that /dev/stdout can be opened, and `null` takes the place of each null device, be it ours or the caller's: through
/// the descriptor a container could change the mode and owner of the host's. In the child.
pub fn take_stdio(
    terminal: Option<&OwnedFd>,
    files: Option<&[OwnedFd; 3]>,
    uid: u32,
    null: Option<&OwnedFd>,
) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    for (number, file) in files.into_iter().flatten().enumerate() {
        move_descriptor(file.as_raw_fd(), number as i32, false)?;
    }
    let owner = (uid != 0).then(|| Uid::from_raw(uid));
    match terminal {
        Some(terminal) => {
            if owner.is_some() {
                fchown(terminal, owner, None::<Gid>)?;
            }
            for number in 0..3 {
                move_descriptor(terminal.as_raw_fd(), number, false)?;
            }
        }
        None => {
            for (number, file) in (0..).zip([stdin(), stdout(), stderr()]) {
                let found = fstat(file)?;
                if let Some(null) = null.filter(|_| is_null(&found)) {
                    move_descriptor(null.as_raw_fd(), number, false)?;
                } else if owner.is_some() && is_nameless_pipe(file, &found)? {
                    // A pipe of another user stays his.
                    let _ = fchown(file, owner, None::<Gid>);
                }
            }
        }
    }
    Ok(())
}

/// Makes the terminal the controlling one of this process' session.
pub fn take_control(terminal: &OwnedFd) -> Result<(), Errno> {
    rustix::process::ioctl_tiocsctty(terminal)
}

/// The size of the terminal that box was started from.
pub fn caller_size() -> Option<Winsize> {
    [stdin(), stdout(), stderr()]
        .into_iter()
        .find_map(|file| tcgetwinsize(file).ok())
}

/// Gives the container's terminal the size of the caller's.
pub fn copy_size(master: BorrowedFd<'_>) -> Result<(), Errno> {
    caller_size().map_or(Ok(()), |size| tcsetwinsize(master, size))
}

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

/// Opens the host's /dev/null, for a process of box, or for a command that gets its own container's in its place.
pub fn null() -> Result<OwnedFd, Errno> {
    open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Control-D: with nothing typed before it, the end of the input of whoever reads.
const END_OF_TRANSMISSION: u8 = 4;

/// Control-U: what line editors empty the line at.
const KILL_LINE: u8 = 21;

/// Copies between the caller's standard input and output and the master side of a terminal, without ever waiting in a
/// write to the container.
#[derive(Debug)]
pub struct Relay {
    master: OwnedFd,
    typed: Vec<u8>,
    /// Standard input has not ended.
    reading: bool,
    /// It has: when to say so again, and after how long once more.
    ended: Option<(Instant, Duration)>,
    /// The container's side is still open.
    writing: bool,
}

impl Relay {
    /// Takes the master side.
    pub fn new(master: OwnedFd) -> Result<Self, Errno> {
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
        Ok(Self {
            master,
            typed: Vec::new(),
            reading: true,
            ended: None,
            writing: true,
        })
    }

    /// The master side.
    pub fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// Whether standard input is worth waiting for, and ours to read.
    pub fn wants_input(&self) -> bool {
        self.reading && self.writing && self.typed.is_empty() && is_ours()
    }

    /// Whether something typed waits for the container to take it.
    pub fn wants_to_write(&self) -> bool {
        self.writing && !self.typed.is_empty()
    }

    /// Whether output may still come.
    pub fn is_open(&self) -> bool {
        self.writing
    }

    /// When [`Relay::repeat_end`] has something to do.
    pub fn next_end(&self) -> Option<Instant> {
        self.ended.filter(|_| self.writing).map(|(due, _)| due)
    }

    /// Says again that standard input has ended, if it is time to: a shell that sets the terminal up throws away what was
    /// typed before, and a command that reads later finds the end as well.
    pub fn repeat_end(&mut self) -> Result<(), Errno> {
        const SLOWEST: Duration = Duration::from_secs(1);
        let now = Instant::now();
        match self.ended {
            Some((due, pause)) if now >= due => {
                self.ended = Some((now + pause, (2 * pause).min(SLOWEST)));
                if self.typed.is_empty() {
                    // In canonical mode it is read as a NUL once the mode is left, so an editor's line may not be empty.
                    let modes = tcgetattr(&self.master)?.local_modes;
                    if !modes.contains(LocalModes::ICANON) {
                        self.typed.push(KILL_LINE);
                    }
                    self.typed.push(END_OF_TRANSMISSION);
                }
                self.write_input()
            }
            _ => Ok(()),
        }
    }

    /// Standard input is readable. Returns the keys that were typed.
    pub fn read_input(&mut self) -> Result<&[u8], Errno> {
        const FIRST_PAUSE: Duration = Duration::from_millis(50);
        let mut buffer = [0u8; 4096];
        match rustix::io::read(stdin(), &mut buffer[..]) {
            Ok(0) | Err(Errno::IO) => {
                // The end of a pipe is Control-D to a terminal.
                self.reading = false;
                self.typed.push(END_OF_TRANSMISSION);
                self.ended = Some((Instant::now() + FIRST_PAUSE, FIRST_PAUSE));
            }
            Ok(length) => self.typed.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(&self.typed)
    }

    /// The container may take more input.
    pub fn write_input(&mut self) -> Result<(), Errno> {
        match rustix::io::write(&self.master, &self.typed) {
            Ok(length) => {
                self.typed.drain(..length);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(Errno::IO) => {
                self.writing = false;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// The container has written something: passes it on.
    pub fn read_output(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0u8; 16384];
        match rustix::io::read(&self.master, &mut buffer[..]) {
            // EIO: nobody has the terminal open any more.
            Ok(0) | Err(Errno::IO) => {
                self.writing = false;
                Ok(false)
            }
            Ok(length) => write_all(&buffer[..length]).map(|()| true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Passes on what is left after the end of the container.
    pub fn drain(&mut self) -> Result<(), Errno> {
        while self.writing && self.read_output()? {}
        Ok(())
    }
}

fn write_all(mut bytes: &[u8]) -> Result<(), Errno> {
    use rustix::event::{PollFd, PollFlags, poll};
    while !bytes.is_empty() {
        match rustix::io::write(stdout(), bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            // Somebody has made our standard output non-blocking.
            Err(Errno::AGAIN) => {
                poll(
                    &mut [PollFd::from_borrowed_fd(stdout(), PollFlags::OUT)],
                    None,
                )?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
