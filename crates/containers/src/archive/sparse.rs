//! Files with holes in an archive: the sparse format 1.0 of GNU tar's extensions to pax, which bsdtar and Go read too. The content
//! begins with a map of what is not a hole (GNU tar's manual, "PAX Format, Versions 1.0").

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::pax::Record;
use crate::files::extents::Extents;

/// What a file has beside its holes.
pub(super) struct Map {
    /// Where each stretch begins, and where it ends; the last may be empty, at the file's end.
    stretches: Vec<(u64, u64)>,
}

/// Fewer bytes of holes are written as zeros.
const WORTHWHILE: u64 = 64 << 10;

/// Archives are made of blocks of so many bytes.
const BLOCK: usize = 512;

/// The most stretches: a map of them takes some tens of megabytes.
const MOST: usize = 1_000_000;

impl Map {
    /// The map of a file; none where writing it whole is as good. [`Errno::FBIG`]: it has too many holes.
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
        // Ends with one at the end, so that readers that go by the map alone make the file as long as it is.
        if stretches.last().is_none_or(|last| last.1 < size) {
            stretches.push((size, size));
        }
        Ok(Some(Self { stretches }))
    }

    /// Bytes that are not in holes.
    fn bytes(&self) -> u64 {
        self.stretches.iter().map(|(start, end)| end - start).sum()
    }

    /// The map as it stands before the content.
    fn text(&self) -> Vec<u8> {
        let mut text = format!("{}\n", self.stretches.len());
        for (start, end) in &self.stretches {
            text += &format!("{start}\n{}\n", end - start);
        }
        let mut text = text.into_bytes();
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        text
    }

    /// The length and the bytes of the archive's member.
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

/// The name that a tool shows which does not know of holes.
pub(super) fn plain_name(path: &Path) -> PathBuf {
    let mut name = path.parent().unwrap_or(Path::new("")).to_owned();
    name.push("GNUSparseFile.0");
    name.push(path.file_name().unwrap_or_default());
    name
}

/// The records that say that a member is a file with holes.
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

/// The stretches of a file one after another. What has been cut off since the map was made is zeros.
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
