//! Carries the data of a command's terminal to and from the caller's standard streams.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{LocalModes, tcgetattr};

use super::is_ours;

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
