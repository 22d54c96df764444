//! Copies the data of a command's terminal to and from the caller's standard streams.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{LocalModes, tcgetattr};

use super::is_ours;

/// Control-D: at the beginning of a line, the end of input for the reader.
const END_OF_TRANSMISSION: u8 = 4;

/// Control-U, at which line editors clear the line.
const KILL_LINE: u8 = 21;

/// Copies between the caller's standard input and output and the master side of a terminal. Never blocks in a write to the
/// container.
#[derive(Debug)]
pub struct Relay {
    master: OwnedFd,
    typed: Vec<u8>,
    /// Standard input has not ended.
    reading: bool,
    /// It has ended: when to send the end of input again, and the delay after that.
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

    /// Whether to wait for standard input: its data is wanted, and box is in the foreground.
    pub fn wants_input(&self) -> bool {
        self.reading && self.writing && self.typed.is_empty() && is_ours()
    }

    /// Whether typed data waits for the container to read it.
    pub fn wants_to_write(&self) -> bool {
        self.writing && !self.typed.is_empty()
    }

    /// Whether more output may come.
    pub fn is_open(&self) -> bool {
        self.writing
    }

    /// When [`Relay::repeat_end`] is due.
    pub fn next_end(&self) -> Option<Instant> {
        self.ended.filter(|_| self.writing).map(|(due, _)| due)
    }

    /// Sends the end of input again if it is due: a shell that sets the terminal up discards typed data, and a command that reads
    /// later has to find the end, too.
    pub fn repeat_end(&mut self) -> Result<(), Errno> {
        const SLOWEST: Duration = Duration::from_secs(1);
        let now = Instant::now();
        match self.ended {
            Some((due, pause)) if now >= due => {
                self.ended = Some((now + pause, (2 * pause).min(SLOWEST)));
                if self.typed.is_empty() {
                    // An end that was sent in canonical mode is read as a NUL once the mode is left, so an editor's line may not be
                    // empty.
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

    /// Reads from standard input, which is readable. Returns the typed keys that wait for the container.
    pub fn read_input(&mut self) -> Result<&[u8], Errno> {
        const FIRST_PAUSE: Duration = Duration::from_millis(50);
        let mut buffer = [0u8; 4096];
        match rustix::io::read(stdin(), &mut buffer[..]) {
            Ok(0) | Err(Errno::IO) => {
                // The end of a pipe becomes Control-D on the terminal.
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

    /// Writes input to the container, which may take more.
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

    /// Copies output of the container. Returns false if there was none.
    pub fn read_output(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0u8; 16384];
        match rustix::io::read(&self.master, &mut buffer[..]) {
            // EIO: no process has the terminal open any more.
            Ok(0) | Err(Errno::IO) => {
                self.writing = false;
                Ok(false)
            }
            Ok(length) => write_all(&buffer[..length]).map(|()| true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Copies the remaining output after the container's end.
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
            // Standard output was made non-blocking by another process.
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
