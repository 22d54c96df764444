//! Reading tar archives of regular files, in bounded memory.
//!
//! Image archives contain blobs and documents with short names. Only the dialects of tar that writers of such archives use are
//! supported: ustar, PAX with `path`, `linkpath` and `size`, GNU long names.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{EntryType, Header};

use crate::archive::pax::{pax_number, pax_records};
use crate::{Error, Result};

/// Tar's unit, in bytes.
const RECORD: usize = 512;

/// The largest extended header or long name in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// A tar archive, read once from beginning to end.
pub(crate) struct Tarball<R> {
    inner: R,
    what: String,
    /// Bytes read so far.
    position: u64,
    /// Unread bytes of the current file.
    left: u64,
    /// Padding of the current file's last record.
    padding: u64,
}

/// A file or a link in the archive.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name, normalized: relative, without `.` and empty components.
    pub(crate) name: String,
    /// The size of a regular file.
    pub(crate) size: u64,
    /// The target of a link, as in the archive.
    pub(crate) link: Option<Link>,
}

/// A link's target.
#[derive(Debug)]
pub(crate) enum Link {
    /// Relative to the link's own directory.
    Symbolic(String),
    /// Relative to the archive's root.
    Hard(String),
}

/// Fields of the next member from extended headers.
type Extensions = BTreeMap<&'static str, String>;

impl<R: Read> Tarball<R> {
    /// Reads from `inner`. Errors name it `what`.
    pub(crate) fn new(inner: R, what: &str) -> Tarball<R> {
        Tarball {
            inner,
            what: what.to_owned(),
            position: 0,
            left: 0,
            padding: 0,
        }
    }

    /// The number of bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next regular file or link. The unread rest of the one before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        let mut extensions = Extensions::new();
        loop {
            self.skip()?;
            let at = self.position;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = match extensions.get("size") {
                Some(size) => pax_number(size.as_bytes()).ok_or_else(|| {
                    self.malformed(at, "the size in a PAX header is not a number")
                })?,
                None => header
                    .entry_size()
                    .map_err(|_| self.malformed(at, "the size is not a number"))?,
            };
            self.left = size;
            self.padding = size.wrapping_neg() % RECORD as u64;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let target = |extensions: &mut Extensions| {
                extensions
                    .remove("linkpath")
                    .or_else(|| header.link_name_bytes().map(|bytes| text(&bytes)))
            };
            let link = match header.entry_type() {
                EntryType::XHeader => {
                    let bytes = self.extension(at)?;
                    read_pax(&bytes, &mut extensions).map_err(|fault| {
                        self.malformed(at, &format!("malformed PAX header: {fault}"))
                    })?;
                    continue;
                }
                EntryType::GNULongName => {
                    let bytes = self.extension(at)?;
                    extensions.insert(
                        "path",
                        text(bytes.split(|byte| *byte == 0).next().unwrap_or_default()),
                    );
                    continue;
                }
                EntryType::GNULongLink => {
                    let bytes = self.extension(at)?;
                    extensions.insert(
                        "linkpath",
                        text(bytes.split(|byte| *byte == 0).next().unwrap_or_default()),
                    );
                    continue;
                }
                EntryType::Regular | EntryType::Continuous => None,
                EntryType::Symlink => target(&mut extensions).map(Link::Symbolic),
                EntryType::Link => target(&mut extensions).map(Link::Hard),
                EntryType::XGlobalHeader | EntryType::Directory => {
                    extensions.clear();
                    continue;
                }
                other => {
                    let kind = char::from(other.as_byte()).escape_default().to_string();
                    return Err(self.malformed(
                        at,
                        &format!("an image archive cannot contain an entry of type '{kind}'"),
                    ));
                }
            };
            if link.is_some() {
                (self.left, self.padding) = (0, 0);
            }
            let name = extensions
                .remove("path")
                .unwrap_or_else(|| text(&header.path_bytes()));
            let name = normal(&name)
                .ok_or_else(|| self.malformed(at, "a name points outside the archive"))?;
            return Ok(Some(Member { name, size, link }));
        }
    }

    /// Reads from the last member to the end of the stream, ignoring what is there, as tar does.
    pub(crate) fn drain(mut self) -> Result<()> {
        match io::copy(&mut self.inner, &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// An error at an offset.
    pub(crate) fn malformed(&self, at: u64, reason: &str) -> Error {
        Error::Archive {
            path: (&self.what).into(),
            reason: format!("{reason} (at byte {at})"),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.malformed(self.position, "it ends in the middle of an entry")
            }
            _ => Error::Io {
                action: "read",
                path: (&self.what).into(),
                source,
            },
        }
    }

    /// Skips to the next header.
    fn skip(&mut self) -> Result<()> {
        let most = self
            .left
            .checked_add(self.padding)
            .ok_or_else(|| self.malformed(self.position, "the size of an entry is too large"))?;
        let skipped = io::copy(&mut (&mut self.inner).take(most), &mut io::sink())
            .map_err(|error| self.failed(error))?;
        self.position += skipped;
        (self.left, self.padding) = (0, 0);
        match skipped == most {
            true => Ok(()),
            false => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The next header. None at the end of the archive: an empty record, or the end of the file.
    fn header(&mut self) -> Result<Option<Header>> {
        let at = self.position;
        let mut header = Header::new_old();
        let mut filled = 0;
        while filled < RECORD {
            match self.inner.read(&mut header.as_mut_bytes()[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        self.position += RECORD as u64;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|byte| u32::from(*byte))
            .sum::<u32>()
            + 8 * 32;
        match header.cksum() {
            Ok(expected) if expected == sum => Ok(Some(header)),
            _ if at == 0 => Err(self.malformed(at, "it is not a tar archive")),
            _ => Err(self.malformed(at, "wrong checksum of a tar header")),
        }
    }

    fn extension(&mut self, at: u64) -> Result<Vec<u8>> {
        if self.left > MAX_EXTENSION {
            return Err(self.malformed(
                at,
                &format!(
                    "an extended header of {} bytes, the limit is {MAX_EXTENSION}",
                    self.left
                ),
            ));
        }
        let mut bytes = vec![0; usize::try_from(self.left).unwrap_or(0)];
        self.read_exact(&mut bytes)
            .map_err(|error| self.failed(error))?;
        Ok(bytes)
    }
}

impl<R: Read> Read for Tarball<R> {
    /// Reads the current file.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

/// Reads the fields that matter here from a PAX header.
fn read_pax(bytes: &[u8], extensions: &mut Extensions) -> Result<(), &'static str> {
    for record in pax_records(bytes) {
        let (name, value) = record?;
        for key in ["path", "linkpath", "size"] {
            if name == key.as_bytes() {
                match value.is_empty() {
                    true => extensions.remove(key),
                    false => extensions.insert(key, String::from_utf8_lossy(value).into_owned()),
                };
            }
        }
    }
    Ok(())
}

/// A name without empty and `.` components. None if it points outside the archive.
pub(crate) fn normal(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut tarball = Tarball::new(bytes, "test");
        let mut members = Vec::new();
        while let Some(member) = tarball.next()? {
            let mut content = Vec::new();
            let size = member.size;
            (&mut tarball)
                .take(size)
                .read_to_end(&mut content)
                .map_err(|error| tarball.failed(error))?;
            members.push((member.name, content));
        }
        Ok(members)
    }

    #[test]
    fn names_and_bytes_are_kept() {
        let long = "d/".repeat(80) + "name";
        let bytes = archive(&[("./a", b"1"), (&long, &[2; 1000]), ("empty", b"")]);
        let expected = vec![
            ("a".to_owned(), vec![1u8; 0]),
            (long, vec![2; 1000]),
            ("empty".to_owned(), vec![]),
        ];
        let mut members = read_all(&bytes).unwrap();
        assert_eq!(members[0].1, b"1");
        members[0].1.clear();
        assert_eq!(members, expected);
    }

    #[test]
    fn cut_archives_are_refused_in_the_middle_of_an_entry() {
        let bytes = archive(&[("a", &[1; 1000])]);
        for cut in [100, 511, 513, 1000, 1511, 1535] {
            let error = read_all(&bytes[..cut]).unwrap_err().to_string();
            assert!(error.contains("ends in the middle"), "{cut}: {error}");
        }
        assert!(read_all(b"hello").is_err());
        assert!(
            read_all(&[b'x'; 4096])
                .unwrap_err()
                .to_string()
                .contains("not a tar archive")
        );
    }

    #[test]
    fn absurd_headers_cost_nothing() {
        let mut header = Header::new_gnu();
        header.set_size(u64::MAX);
        header.set_entry_type(EntryType::XHeader);
        header.set_cksum();
        assert!(
            read_all(header.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("extended header")
        );
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        assert!(read_all(header.as_bytes()).is_err());
        header.set_entry_type(EntryType::Char);
        header.set_cksum();
        assert!(
            read_all(header.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("type '3'")
        );
    }

    #[test]
    fn names_stay_inside() {
        assert_eq!(normal("./a//b/../c").unwrap(), "a/c");
        assert_eq!(normal("/a").unwrap(), "a");
        assert_eq!(normal("a/../.."), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2000), fix in any::<bool>()) {
            if fix && bytes.len() >= RECORD {
                let sum: u32 = bytes[..148].iter().chain(&bytes[156..RECORD]).map(|b| u32::from(*b)).sum::<u32>() + 256;
                bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            read_all(&bytes).ok();
        }
    }
}
