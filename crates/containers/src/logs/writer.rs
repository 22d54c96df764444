//! Writing and rotating a log, in the monitor.
//!
//! The file always ends with a complete record: a partial one, left by a full disk or a killed monitor, is truncated. Write errors are
//! not returned: a container whose log cannot be written goes on, as with conmon, and the log records how many bytes are missing.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::files::{self, DIRECTORY};
use super::record::{LONGEST, PREFIX, Stream, now, prefix, stamp};
use super::settings::LogOptions;
use crate::Error;
use crate::files::create_private_dir;

/// A log, opened for writing.
#[derive(Debug)]
pub(crate) struct Writer {
    /// By descriptor, as the container may be renamed.
    directory: OwnedFd,
    file: File,
    /// The end of the last complete record in the file.
    size: u64,
    /// The largest size of a file, and the most files.
    limits: (u64, u32),
    lost: Option<Lost>,
}

/// Output that could not be written since the last successful write.
#[derive(Clone, Copy, Debug)]
struct Lost {
    bytes: u64,
    reason: Errno,
}

/// Records that are written together: at most half of a pipe, which keeps the monitor small.
struct Batch {
    bytes: [u8; 32 << 10],
    length: usize,
}

impl Writer {
    /// Opens the log of the container with this directory, to append to it.
    pub(crate) fn open(container: &Path, settings: &LogOptions) -> Result<Self, Error> {
        let path = container.join(DIRECTORY);
        create_private_dir(&path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(CWD, &path, flags, Mode::empty())
            .map_err(|errno| Error::io("open", &path, errno))?;
        let path: PathBuf = path.join(files::CURRENT);
        let file = files::append(&directory).map_err(|errno| Error::io("open", &path, errno))?;
        let size = repair(&file).map_err(|error| Error::io("repair", &path, error))?;
        Ok(Self {
            directory,
            file,
            size,
            limits: settings.files(),
            lost: None,
        })
    }

    /// Appends output that the container just wrote to a stream.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        let time = stamp(now());
        let longest = longest(self.limits.0);
        let mut batch = Batch {
            bytes: [0; 32 << 10],
            length: 0,
        };
        while !bytes.is_empty() {
            let (text, complete) = line(bytes, longest);
            let record = PREFIX + text.len() + 1;
            let full = self.size + (batch.length + record) as u64 > self.limits.0;
            if full || record > batch.bytes.len() - batch.length {
                self.flush(&mut batch);
            }
            if full && self.size > 0 {
                self.rotate();
            }
            batch.push(&prefix(&time, stream, complete));
            batch.push(text);
            batch.push(b"\n");
            bytes = &bytes[text.len() + usize::from(complete)..];
        }
        self.flush(&mut batch);
    }

    fn flush(&mut self, batch: &mut Batch) {
        let records = &batch.bytes[..batch.length];
        batch.length = 0;
        if records.is_empty() {
            return;
        }
        if self.lost.is_some() && !self.say_what_is_lost() {
            return self.lose(records, None);
        }
        if let Err((written, errno)) = self.append(records) {
            self.lose(&records[written..], Some(errno));
        }
    }

    /// Writes a record about missing output. Returns false if there is no room for that either.
    fn say_what_is_lost(&mut self) -> bool {
        let Some(Lost { bytes, reason }) = self.lost else {
            return true;
        };
        let mut record = prefix(&stamp(now()), Stream::Stderr, true).to_vec();
        let reason = box_host::Reason(&reason.into()).to_string();
        let text = format!("box: {bytes} bytes of output are missing here: {reason}\n");
        record.extend_from_slice(text.as_bytes());
        let room = self.size + record.len() as u64 <= self.limits.0;
        let said = room && self.append(&record).is_ok();
        if said {
            self.lost = None;
        }
        said
    }

    fn lose(&mut self, records: &[u8], reason: Option<Errno>) {
        let bytes: usize = records
            .split_inclusive(|&byte| byte == b'\n')
            .map(|record| {
                let complete = record.get(PREFIX - 2) == Some(&b'F');
                record.len().saturating_sub(PREFIX + 1) + usize::from(complete)
            })
            .sum();
        let lost = self.lost.get_or_insert(Lost {
            bytes: 0,
            reason: Errno::NOSPC,
        });
        lost.bytes += bytes as u64;
        lost.reason = reason.unwrap_or(lost.reason);
    }

    /// Writes records. On failure the complete ones stay, and their length is returned.
    fn append(&mut self, records: &[u8]) -> Result<(), (usize, Errno)> {
        if self.size + records.len() as u64 > self.limits.0 {
            // The rotation has failed.
            return Err((0, Errno::FBIG));
        }
        let mut written = 0;
        while written < records.len() {
            let errno = match rustix::io::write(&self.file, &records[written..]) {
                Ok(0) => Errno::NOSPC,
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(errno) => errno,
            };
            let whole = last_break(&records[..written]).map_or(0, |at| at + 1);
            self.size += whole as u64;
            // If that fails too, readers skip the partial record.
            self.file.set_len(self.size).ok();
            return Err((whole, errno));
        }
        self.size += written as u64;
        Ok(())
    }

    fn rotate(&mut self) {
        // If it fails, nothing is written to the full file: see append().
        if let Ok(file) = files::rotate(&self.directory, self.limits.1) {
            self.file = file;
            self.size = 0;
        }
    }
}

impl Batch {
    fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }
}

/// The longest text of a record that fits into a file.
fn longest(limit: u64) -> usize {
    let room = limit.saturating_sub(PREFIX as u64 + 1);
    LONGEST.min(usize::try_from(room).unwrap_or(LONGEST))
}

/// The text of the next record, and whether it ends a line.
fn line(bytes: &[u8], longest: usize) -> (&[u8], bool) {
    let window = &bytes[..bytes.len().min(longest + 1)];
    match memchr::memchr(b'\n', window) {
        Some(at) => (&bytes[..at], true),
        None => (&bytes[..bytes.len().min(longest)], false),
    }
}

fn last_break(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', bytes)
}

/// Truncates a partial record at the end, left by a killed monitor or a crash of the machine. Returns the size of the file.
fn repair(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let whole = whole(file, size)?;
    if whole != size {
        file.set_len(whole)?;
    }
    Ok(whole)
}

/// The end of the last complete record before `end`. A record contains no line break and is never longer than this reads. A longer
/// last line is not a record, and is left as it is.
pub(super) fn whole(file: &File, end: u64) -> io::Result<u64> {
    const ENOUGH: u64 = 2 * LONGEST as u64;
    let start = end.saturating_sub(ENOUGH);
    let mut bytes = vec![0; (end - start) as usize];
    file.read_exact_at(&mut bytes, start)?;
    Ok(match last_break(&bytes) {
        Some(at) => start + at as u64 + 1,
        None if start == 0 => 0,
        None => end,
    })
}

#[cfg(test)]
mod tests;
