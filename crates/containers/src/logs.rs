//! The log of a detached container.
//!
//! The monitor reads the container's stdout and stderr from pipes, or its terminal, and writes [`Record`]s to `log/ctr.log` in the
//! container's directory. When that file is full it becomes `ctr.log.1`, and so on; the oldest one is removed. The container has no
//! descriptor of these files. The reader does not trust their content: a line that is not a record is skipped, however long it is.

mod files;
mod read;
mod record;
mod settings;
mod tail;
mod writer;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::Error;
use files::DIRECTORY;
use read::{Lines, past_hole, read_at, watch};
pub use record::{Record, STAMP, Stream, stamp};
pub use settings::{Driver, LogOptions, MaxSize};
pub(crate) use writer::Writer;

/// The log file of older versions, whose logs had no records.
const OLD: &str = "output";

/// Bytes per read: many times the longest record.
const BUFFER: usize = 256 << 10;

/// The requested lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// `--tail`: number of lines at the end, of those that the other fields select.
    pub tail: Option<u64>,
    /// `--since`: time of the earliest line, in nanoseconds since 1970.
    pub since: Option<u64>,
    /// `--until`: time of the latest line, in nanoseconds since 1970.
    pub until: Option<u64>,
}

/// A callback for each record. An error ends the reading.
pub type Each<'a> = &'a mut dyn FnMut(&Record<'_>) -> io::Result<()>;

/// The log of a container, opened for reading.
#[derive(Debug)]
pub struct Log {
    directory: OwnedFd,
    path: PathBuf,
    /// The most files.
    count: u32,
    /// The file that is being read, and the offset.
    file: Option<File>,
    offset: u64,
    /// Whether the offset is inside a line that is too long for a record.
    lost: bool,
    /// Number of records of each stream that are skipped before the first requested one.
    skip: [u64; 2],
    since: Option<[u8; STAMP]>,
    until: Option<[u8; STAMP]>,
    watch: Option<OwnedFd>,
}

impl Log {
    /// Opens the log of the container with this directory; `None` if it has none.
    pub(crate) fn open(container: &Path, settings: &LogOptions) -> Result<Option<Self>, Error> {
        let path = container.join(DIRECTORY);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match openat(CWD, &path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("open", &path, errno)),
        };
        let (_, count) = settings.files();
        let log = Self {
            directory,
            path,
            count,
            file: None,
            offset: 0,
            lost: false,
            skip: [0; 2],
            since: None,
            until: None,
            watch: None,
        };
        if log.newer()?.is_some() {
            return Ok(Some(log));
        }
        let old = log.path.join(OLD);
        match old.exists() {
            true => Err(Error::OldLog { path: old }),
            false => Ok(None),
        }
    }

    /// The file with the container's latest output.
    pub(crate) fn path(container: &Path) -> PathBuf {
        container.join(DIRECTORY).join(files::CURRENT)
    }

    /// Seeks to the first requested line.
    pub fn seek(&mut self, query: &Query) -> Result<(), Error> {
        self.since = query.since.map(stamp);
        self.until = query.until.map(stamp);
        if let Some(lines) = query.tail {
            let found = files::all(&self.directory, self.count)
                .and_then(|files| tail::find(files, lines, |record| self.wants(record)));
            let start = found.map_err(|error| self.failed(error))?;
            (self.file, self.offset, self.skip) = (start.file, start.offset, start.skip);
        }
        Ok(())
    }

    /// Seeks to the end.
    pub fn seek_to_end(&mut self) -> Result<(), Error> {
        let newest = self.newest();
        (self.file, self.offset) = newest.map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// Calls `each` with the requested records up to the current end. Records written meanwhile are left for the next call, as a container
    /// may write faster than this reads.
    pub fn read(&mut self, each: Each<'_>) -> Result<io::Result<()>, Error> {
        let mut buffer = vec![0; BUFFER];
        let (last, end) = self.newest().map_err(|error| self.failed(error))?;
        // At most `count` files exist at once; more are read only if a rotation removes some meanwhile.
        for _ in 0..=self.count {
            // Looked up first: once there is a newer file, nothing is added to this one.
            let newer = self.newer()?;
            let is_last = match (&self.file, &last) {
                (Some(file), Some(last)) => files::is_same(file, last),
                _ => Ok(false),
            };
            let is_last = is_last.map_err(|error| self.failed(error))?;
            let end = if is_last { end } else { u64::MAX };
            if let Err(error) = self.read_file(&mut buffer, end, each)? {
                return Ok(Err(error));
            }
            let Some(newer) = newer.filter(|_| !is_last) else {
                break;
            };
            self.file = Some(newer);
            self.offset = 0;
            self.lost = false;
        }
        Ok(Ok(()))
    }

    /// The current file, and the end of its last complete record.
    fn newest(&self) -> io::Result<(Option<File>, u64)> {
        let newest = files::all(&self.directory, self.count)?.into_iter().next();
        let end = newest
            .as_ref()
            .map_or(Ok(0), |file| writer::whole(file, file.metadata()?.len()))?;
        Ok((newest, end))
    }

    /// Reads the open file up to an offset, or slightly beyond it.
    fn read_file(
        &mut self,
        buffer: &mut [u8],
        end: u64,
        each: Each<'_>,
    ) -> Result<io::Result<()>, Error> {
        let Some(file) = self.file.take() else {
            return Ok(Ok(()));
        };
        let read = loop {
            if self.offset >= end {
                break Ok(Ok(()));
            }
            let length = match read_at(&file, buffer, self.offset) {
                Ok(length) => length,
                Err(error) => break Err(self.failed(error)),
            };
            let bytes = &buffer[..length];
            let Some(whole) = memchr::memrchr(b'\n', bytes) else {
                if length < buffer.len() {
                    // The end, or a record that is being written.
                    break Ok(Ok(()));
                }
                self.lost = true;
                self.offset = past_hole(&file, self.offset + length as u64);
                continue;
            };
            self.offset += whole as u64 + 1;
            if let Err(error) = self.pass_on(&bytes[..whole], each) {
                break Ok(Err(error));
            }
        };
        self.file = Some(file);
        read
    }

    fn pass_on(&mut self, lines: &[u8], each: Each<'_>) -> io::Result<()> {
        for line in Lines(Some(lines)) {
            if std::mem::take(&mut self.lost) {
                continue;
            }
            let Some(record) = Record::parse(line) else {
                continue;
            };
            let skip = &mut self.skip[record.stream as usize];
            if *skip > 0 {
                *skip -= 1;
                continue;
            }
            if self.wants(&record) {
                each(&record)?;
            }
        }
        Ok(())
    }

    fn wants(&self, record: &Record<'_>) -> bool {
        self.since.is_none_or(|since| *record.time >= since)
            && self.until.is_none_or(|until| *record.time <= until)
    }

    /// Waits until there may be more records or `until` is readable, at most for `timeout`.
    pub fn wait(&mut self, until: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<(), Error> {
        // Without an inotify watch: polls ten times a second.
        let watch = self.watched();
        let timeout = match watch {
            Some(_) => timeout,
            None => timeout.min(Duration::from_millis(100)),
        };
        let limit = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut sources: Vec<PollFd<'_>> = watch
            .into_iter()
            .chain(until)
            .map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN))
            .collect();
        match poll(&mut sources, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("watch", &self.path, errno)),
        }
        self.clear_watch();
        Ok(())
    }

    /// Starts to watch the log. Called before it is read, so that no later record is missed.
    pub fn watch(&mut self) {
        self.watched();
    }

    /// A descriptor that is readable when there may be more records, for a caller's poll loop; `None` if no watch is available.
    pub(crate) fn watched(&mut self) -> Option<BorrowedFd<'_>> {
        if self.watch.is_none() {
            self.watch = watch(self.directory.as_fd());
        }
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Discards the events of the watch.
    pub(crate) fn clear_watch(&self) {
        if let Some(watch) = &self.watch {
            let mut events = [0u8; 4096];
            // The events themselves do not matter, and neither does a failed read.
            rustix::io::read(watch, &mut events).ok();
        }
    }

    fn newer(&self) -> Result<Option<File>, Error> {
        files::after(&self.directory, self.count, self.file.as_ref())
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io("read", &self.path, error)
    }
}

#[cfg(test)]
mod tests;
