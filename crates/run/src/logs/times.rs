//! When the output was how long.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{DIRECTORY, OUTPUT, TIMES, read_file};
use crate::{Error, sys};

/// The most notes a second.
pub const RATE: u32 = 10;

/// Bytes of a note.
const NOTE: usize = 16;

/// All notes of a log, in order.
pub(super) struct Times {
    /// Length of the output, and milliseconds since the epoch at which it was that long.
    notes: Vec<(u64, u64)>,
}

impl Times {
    /// Reads them; half a note, of a monitor that was killed, does not count.
    pub(super) fn read(instance: &Path) -> Result<Self, Error> {
        let bytes = read_file(&instance.join(TIMES))?;
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        let notes = bytes
            .chunks_exact(NOTE)
            .map(|note| (number(&note[..8]), number(&note[8..])))
            .collect();
        Ok(Self { notes })
    }

    /// What nobody has noted yet of an output of this length was written when the file last was, `modified`, in milliseconds.
    pub(super) fn complete(&mut self, length: u64, modified: u64) {
        let (noted, last) = self.notes.last().copied().unwrap_or_default();
        if length > noted {
            self.notes.push((length, modified.max(last)));
        }
    }

    /// When the byte at an offset was written; `None`: nobody saw it.
    pub(super) fn of(&self, offset: u64) -> Option<u64> {
        let after = self.notes.partition_point(|&(length, _)| length <= offset);
        self.notes.get(after).map(|&(_, time)| time)
    }

    /// How long the output was just before a time.
    pub(super) fn length_before(&self, time: u64) -> u64 {
        let at = self.notes.partition_point(|&(_, then)| then < time);
        at.checked_sub(1).map_or(0, |before| self.notes[before].0)
    }

    /// How long the output was at a time; without end if that is still to come.
    pub(super) fn length_at(&self, time: u64) -> u64 {
        let at = self.notes.partition_point(|&(_, then)| then <= time);
        match (at.checked_sub(1), at == self.notes.len()) {
            (_, true) => u64::MAX,
            (Some(last), _) => self.notes[last].0,
            (None, _) => 0,
        }
    }
}

/// The monitor's side: notes how long the output is, when it grew.
#[derive(Debug)]
pub(crate) struct Recorder {
    output: File,
    times: File,
    path: PathBuf,
    /// Watched, as it holds the output and nothing else.
    directory: File,
    length: u64,
}

impl Recorder {
    /// Opens the files of an instance's log, which exists.
    pub(crate) fn open(instance: &Path) -> Result<Self, Error> {
        let open = |path: &Path| File::open(path).map_err(|error| Error::io("open", path, error));
        let output = open(&instance.join(OUTPUT))?;
        let directory = open(&instance.join(DIRECTORY))?;
        let path = instance.join(TIMES);
        let times = File::options().append(true).create(true).open(&path);
        let times = times.map_err(|error| Error::io("open", &path, error))?;
        let length = length(&output, &path)?;
        Ok(Self {
            output,
            times,
            path,
            directory,
            length,
        })
    }

    /// Asks for one SIGIO when the output grows next, fcntl(2) `F_NOTIFY`: inotify would take one of the few instances that a
    /// user has for every container.
    pub(crate) fn watch(&self) -> Result<(), rustix::io::Errno> {
        sys::notify_of_changes(self.directory.as_fd())
    }

    /// Notes the length now, if it is another. Returns whether it was. Where the disk is full, lines have no time.
    pub(crate) fn note(&mut self) -> Result<bool, Error> {
        let length = length(&self.output, &self.path)?;
        if length == self.length {
            return Ok(false);
        }
        self.length = length;
        let mut note = [0; NOTE];
        note[..8].copy_from_slice(&length.to_le_bytes());
        note[8..].copy_from_slice(&now().to_le_bytes());
        self.times
            .write_all(&note)
            .map_err(|error| Error::io("write", &self.path, error))?;
        Ok(true)
    }

    /// How long to wait between two notes.
    pub(crate) fn pause() -> Duration {
        Duration::from_secs(1) / RATE
    }
}

fn length(output: &File, path: &Path) -> Result<u64, Error> {
    output
        .metadata()
        .map(|metadata| metadata.len())
        .map_err(|error| Error::io("look at", path, error))
}

/// Milliseconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
