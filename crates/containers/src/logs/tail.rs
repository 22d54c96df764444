//! The start of the last lines of a log.

use std::fs::File;
use std::io;

use super::record::Record;
use super::{BUFFER, Lines, read_at, writer};

/// Where to start reading for the last lines.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// `None` for the beginning of the oldest file.
    pub(super) file: Option<File>,
    pub(super) offset: u64,
    /// Number of records of each stream after that position that precede the lines.
    pub(super) skip: [u64; 2],
}

/// The records of a stream that were found so far, from the end.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Number of records, including those that precede the lines.
    seen: u64,
    /// Number of records in the lines.
    taken: u64,
    /// Whether a requested record was found.
    any: bool,
    /// Whether all older records precede the lines.
    closed: bool,
}

/// Reads the files, newest first, until the last `lines` lines are found. Records that are not `wanted` do not count. Lines of the two
/// streams may be interleaved.
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
            // The first line may begin before the buffer.
            let (before, text) = match memchr::memchr(b'\n', text) {
                Some(at) if from > 0 => (at as u64 + 1, &text[at + 1..]),
                // Too long for a record.
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

    /// Whether no older record belongs to the lines.
    fn is_complete(&self, left: u64) -> bool {
        left == 0 && (self.closed || !self.any)
    }
}
