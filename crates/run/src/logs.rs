//! What a detached container wrote.
//!
//! `log/output` in the instance's directory is stdout and stderr of the container, in the order in which it wrote: the
//! container has the file itself, opened for appending, and nobody copies anything. One file for both, as two would lose that order.
//! What the file does not say is when a line was written. The monitor notes that beside it, in `times`: pairs of 64-bit
//! little-endian numbers, a length of the output and the milliseconds since the epoch at which it was that long, at most
//! [`RATE`] of them a second. So a line's time is exact to a tenth of a second, and costs the container nothing.

mod times;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::{Error, files};
pub use times::RATE;
pub(crate) use times::Recorder;
use times::Times;

/// Directory and file of the output in an instance's directory.
const DIRECTORY: &str = "log";
const OUTPUT: &str = "log/output";
const TIMES: &str = "times";

/// Which lines, and how they are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// `--tail`: the last so many lines.
    pub tail: Option<u64>,
    /// `--since`: not those written before this, in milliseconds since the epoch.
    pub since: Option<u64>,
    /// `--until`: not those written after this, in milliseconds since the epoch.
    pub until: Option<u64>,
}

/// The output of an instance, opened for reading.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    dir: PathBuf,
    watch: Option<OwnedFd>,
    offset: u64,
    end: u64,
}

/// A line, or its beginning where the container has not ended it yet.
#[derive(Debug)]
pub struct Line<'a> {
    /// Milliseconds since the epoch.
    pub time: u64,
    /// With its line break.
    pub bytes: &'a [u8],
}

/// Makes the files of a log, and opens the output for appending.
pub(crate) fn create(instance: &Path) -> Result<OwnedFd, Error> {
    files::create_private_dir(&instance.join(DIRECTORY))?;
    let path = instance.join(OUTPUT);
    let file = File::options().append(true).create(true).open(&path);
    file.map(OwnedFd::from)
        .map_err(|error| Error::io("open", &path, error))
}

impl Log {
    /// Opens the log of the instance with this directory; `None` if it never ran detached.
    pub fn open(instance: &Path) -> Result<Option<Self>, Error> {
        let path = instance.join(OUTPUT);
        match File::open(&path) {
            Ok(file) => {
                let dir = instance.to_owned();
                Ok(Some(Self {
                    file,
                    path,
                    dir,
                    watch: None,
                    offset: 0,
                    end: u64::MAX,
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("open", &path, error)),
        }
    }

    /// Goes to where the lines that are asked for begin.
    pub fn seek(&mut self, query: &Query) -> Result<(), Error> {
        let length = self.length()?;
        if query.since.is_some() || query.until.is_some() {
            let mut times = Times::read(&self.dir)?;
            times.complete(length, self.modified()?);
            if let Some(since) = query.since {
                self.offset = self.line_after(times.length_before(since).min(length))?;
            }
            if let Some(until) = query.until {
                self.end = times.length_at(until);
            }
        }
        if let Some(tail) = query.tail {
            self.offset = self.offset.max(self.tail(tail, length.min(self.end))?);
        }
        Ok(())
    }

    /// Goes to the end.
    pub fn seek_to_end(&mut self) -> Result<(), Error> {
        self.offset = self.length()?;
        Ok(())
    }

    /// Writes what there is, as it is.
    pub fn copy(&mut self, out: &mut dyn Write) -> Result<io::Result<()>, Error> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = self.read(&mut buffer)?;
            if count == 0 {
                return Ok(Ok(()));
            }
            if let Err(error) = out.write_all(&buffer[..count]) {
                return Ok(Err(error));
            }
            self.offset += count as u64;
        }
    }

    /// Calls with each line that is there, with its time. The last one may still grow: it comes only if `partial`.
    pub fn lines(
        &mut self,
        partial: bool,
        each: &mut dyn FnMut(Line<'_>) -> io::Result<()>,
    ) -> Result<io::Result<()>, Error> {
        let times = Times::read(&self.dir)?;
        let modified = self.modified()?;
        let mut held: Vec<u8> = vec![];
        let mut buffer = vec![0; 64 << 10];
        let mut position = self.offset;
        loop {
            let count = read_at(&self.file, &mut buffer, position, self.end)
                .map_err(|error| self.failed(error))?;
            position += count as u64;
            held.extend_from_slice(&buffer[..count]);
            let mut from = 0;
            while let Some(length) = held[from..]
                .iter()
                .position(|&byte| byte == b'\n')
                .map(|at| at + 1)
            {
                let line = Line {
                    time: times.of(self.offset).unwrap_or(modified),
                    bytes: &held[from..from + length],
                };
                if let Err(error) = each(line) {
                    return Ok(Err(error));
                }
                self.offset += length as u64;
                from += length;
            }
            held.drain(..from);
            if count == 0 {
                break;
            }
        }
        if partial && !held.is_empty() {
            let line = Line {
                time: times.of(self.offset).unwrap_or(modified),
                bytes: &held,
            };
            self.offset += held.len() as u64;
            return Ok(each(line));
        }
        Ok(Ok(()))
    }

    /// Waits until there is more, or for the given time. `false`: nothing came.
    pub fn wait(&mut self, patience: Duration) -> Result<bool, Error> {
        if self.watch.is_none() {
            self.watch = watch(&self.path);
        }
        if self.length()? > self.offset {
            return Ok(true);
        }
        let limit = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match &self.watch {
            Some(watch) => {
                let mut sources = [PollFd::new(watch, PollFlags::IN)];
                if poll(&mut sources, Some(&limit)).is_ok_and(|ready| ready > 0) {
                    self.clear_watch();
                }
            }
            None => std::thread::sleep(patience.min(Duration::from_millis(100))),
        }
        Ok(self.length()? > self.offset)
    }

    /// Readable when there may be more; for a loop that waits for other things as well. `None`: there is no watch to get.
    pub(crate) fn watched(&mut self) -> Result<Option<BorrowedFd<'_>>, Error> {
        if self.watch.is_none() {
            self.watch = watch(&self.path);
        }
        Ok(self.watch.as_ref().map(AsFd::as_fd))
    }

    /// Forgets what the watch has told.
    pub(crate) fn clear_watch(&self) {
        if let Some(watch) = &self.watch {
            let mut events = [0u8; 4096];
            // What happened does not matter, and nothing is lost if it cannot be read.
            rustix::io::read(watch, &mut events).ok();
        }
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        read_at(&self.file, buffer, self.offset, self.end).map_err(|error| self.failed(error))
    }

    fn length(&self) -> Result<u64, Error> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|error| self.failed(error))
    }

    fn modified(&self) -> Result<u64, Error> {
        let modified = self
            .file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map_err(|error| self.failed(error))?;
        let since = modified
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The beginning of the first line at or after an offset.
    fn line_after(&self, offset: u64) -> Result<u64, Error> {
        let Some(mut position) = offset.checked_sub(1) else {
            return Ok(0);
        };
        let mut buffer = [0; 4096];
        loop {
            let count = read_at(&self.file, &mut buffer, position, u64::MAX)
                .map_err(|error| self.failed(error))?;
            match buffer[..count].iter().position(|&byte| byte == b'\n') {
                Some(at) => return Ok(position + at as u64 + 1),
                None if count == 0 => return Ok(position),
                None => position += count as u64,
            }
        }
    }

    /// Where the last `lines` lines before `length` begin.
    fn tail(&self, lines: u64, length: u64) -> Result<u64, Error> {
        let mut buffer = vec![0; 64 << 10];
        let mut wanted = lines;
        let mut end = length;
        if lines == 0 {
            return Ok(length);
        }
        while end > 0 {
            let start = end.saturating_sub(buffer.len() as u64);
            let part = &mut buffer[..(end - start) as usize];
            self.file
                .read_exact_at(part, start)
                .map_err(|error| self.failed(error))?;
            for (at, &byte) in part.iter().enumerate().rev() {
                // The break at the very end belongs to the last line.
                if byte == b'\n' && start + at as u64 + 1 != length {
                    wanted -= 1;
                    if wanted == 0 {
                        return Ok(start + at as u64 + 1);
                    }
                }
            }
            end = start;
        }
        Ok(0)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io("read", &self.path, error)
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64, end: u64) -> io::Result<usize> {
    let most = usize::try_from(end.saturating_sub(offset))
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    loop {
        match file.read_at(&mut buffer[..most], offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Tells of writes; there may be no watch left to get, inotify(7) has a limit for each user.
fn watch(path: &Path) -> Option<OwnedFd> {
    let watch =
        inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY).ok()?;
    Some(watch)
}

/// Reads a whole file that may not be there.
fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![];
    match File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

#[cfg(test)]
mod tests;
