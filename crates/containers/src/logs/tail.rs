//! Where the last lines of a log begin.

use std::fs::File;
use std::io;

use super::record::Record;
use super::{BUFFER, Lines, read_at, writer};

/// From where on the log is read for its last lines.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// `None`: from the beginning of all there is.
    pub(super) file: Option<File>,
    pub(super) offset: u64,
    /// So many records of each stream after that are older than the lines.
    pub(super) skip: [u64; 2],
}

/// What was found of a stream so far, from the end.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Records, those that are older than the lines included.
    seen: u64,
    /// Records of the lines.
    taken: u64,
    /// One that was asked for was there.
    any: bool,
    /// All that is older is older than the lines.
    closed: bool,
}

/// Goes through the files, of which the newest is first, until the last `lines` lines are found. Records that are not `wanted` do
/// not count. The lines of the two streams may be in each other's midst.
pub(super) fn find(
    files: Vec<File>,
    lines: u64,
    wanted: impl Fn(&Record<'_>) -> bool,
) -> io::Result<Start> {
    let mut left = lines;
    let mut found = [Found::default(); 2];
    let mut buffer = vec![0; BUFFER];
    let mut start = Start::default();
    for file in files {
        let mut end = writer::whole(&file, file.metadata()?.len())?;
        while end > 0 {
            if found.iter().all(|stream| stream.is_complete(left)) {
                start.skip = found.map(|stream| stream.seen - stream.taken);
                (start.file, start.offset) = (Some(file), end);
                return Ok(start);
            }
            let from = end.saturating_sub(buffer.len() as u64);
            let part = &mut buffer[..(end - from) as usize];
            let length = read_at(&file, part, from)?;
            let part = &part[..length];
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            // The first line may have begun before.
            let (before, text) = match memchr::memchr(b'\n', text) {
                Some(at) if from > 0 => (at as u64 + 1, &text[at + 1..]),
                // Too long to be a record.
                None if from > 0 => (0, &text[..0]),
                _ => (0, text),
            };
            let records: Vec<_> = Lines(Some(text)).filter_map(Record::parse).collect();
            for record in records.iter().rev() {
                found[record.stream as usize].count(record, wanted(record), &mut left);
            }
            end = from + before;
        }
    }
    start.skip = found.map(|stream| stream.seen - stream.taken);
    Ok(start)
}

impl Found {
    fn count(&mut self, record: &Record<'_>, wanted: bool, left: &mut u64) {
        self.seen += 1;
        let ends_a_line = wanted && (record.complete || !self.any);
        if ends_a_line && *left == 0 {
            self.closed = true;
        }
        if self.closed {
            return;
        }
        if ends_a_line {
            *left -= 1;
        }
        self.any |= wanted;
        self.taken += 1;
    }

    /// Whether nothing that is older belongs to the lines.
    fn is_complete(&self, left: u64) -> bool {
        left == 0 && (self.closed || !self.any)
    }
}
