//! Sparse files in an archive: version 1.0 of GNU tar's sparse format for pax, which bsdtar and Go read too. The content begins with
//! a map of the data (GNU tar's manual, "PAX Format, Versions 1.0").

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::pax::Record;
use crate::files::extents::Extents;

/// The data ranges of a sparse file.
pub(super) struct Map {
    /// Start and end of each range; the last may be empty, at the end of the file.
    stretches: Vec<(u64, u64)>,
}

/// Files with fewer bytes of holes are written whole.
const WORTHWHILE: u64 = 64 << 10;

/// The block size of archives.
const BLOCK: usize = 512;

/// The most ranges: a map of them takes some tens of megabytes.
const MOST: usize = 1_000_000;

impl Map {
    /// The map of a file; `None` if it has hardly any holes, [`Errno::FBIG`] if it has too many.
    pub(super) fn of(file: &OwnedFd, size: u64) -> Result<Option<Self>, Errno> {
        let mut stretches: Vec<(u64, u64)> = vec![];
        let mut extents = Extents::of(file, size);
        while let Some((start, end)) = extents.next()? {
            match stretches.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => stretches.push((start, end)),
            }
            if stretches.len() > MOST {
                return Err(Errno::FBIG);
            }
        }
        let map = Self { stretches };
        if size - map.bytes() < WORTHWHILE {
            return Ok(None);
        }
        let Self { mut stretches } = map;
        // The map ends at the file's size, for readers that derive the size from the map.
        if stretches.last().is_none_or(|last| last.1 < size) {
            stretches.push((size, size));
        }
        Ok(Some(Self { stretches }))
    }

    /// Number of bytes of data.
    fn bytes(&self) -> u64 {
        self.stretches.iter().map(|(start, end)| end - start).sum()
    }

    /// The map as it precedes the data.
    fn text(&self) -> Vec<u8> {
        let mut text = format!("{}\n", self.stretches.len());
        for (start, end) in &self.stretches {
            text += &format!("{start}\n{}\n", end - start);
        }
        let mut text = text.into_bytes();
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        text
    }

    /// Length and content of the archive member.
    pub(super) fn member(self, file: OwnedFd) -> (u64, impl Read) {
        let text = self.text();
        let size = text.len() as u64 + self.bytes();
        let content = Content {
            file,
            stretches: self.stretches.into_iter(),
            current: (0, 0),
        };
        (size, io::Cursor::new(text).chain(content))
    }
}

/// The name that tools without support for the format show.
pub(super) fn plain_name(path: &Path) -> PathBuf {
    let mut name = path.parent().unwrap_or(Path::new("")).to_owned();
    name.push("GNUSparseFile.0");
    name.push(path.file_name().unwrap_or_default());
    name
}

/// The records that mark a member as a sparse file.
pub(super) fn records(path: &Path, size: u64) -> Vec<Record> {
    use std::os::unix::ffi::OsStringExt;
    let name = OsString::from(path).into_vec();
    [
        ("major", b"1".to_vec()),
        ("minor", b"0".to_vec()),
        ("name", name),
        ("realsize", size.to_string().into_bytes()),
    ]
    .map(|(key, value)| (format!("GNU.sparse.{key}").into_bytes(), value))
    .into()
}

/// The data ranges of a file, one after another. Data that was truncated since the map was made reads as zeros.
struct Content {
    file: OwnedFd,
    stretches: std::vec::IntoIter<(u64, u64)>,
    current: (u64, u64),
}

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.0 == self.current.1 {
            match self.stretches.next() {
                Some(next) => self.current = next,
                None => return Ok(0),
            }
        }
        let (position, end) = self.current;
        let length = (end - position).min(into.len() as u64) as usize;
        let count = match rustix::io::pread(&self.file, &mut into[..length], position)? {
            0 => {
                into[..length].fill(0);
                length
            }
            count => count,
        };
        self.current.0 += count as u64;
        Ok(count)
    }
}
