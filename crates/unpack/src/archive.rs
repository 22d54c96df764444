//! Reading a stream of archive members: headers with their extensions, and content in slices.

use std::io::BufRead;

use crate::entry::{
    BLOCK, Entry, Header, MapReader, Problem, Records, Segment, TypeFlag, assemble, display_name,
    gnu_sparse_extension, xattr_bytes,
};
use crate::error::{Error, Position};
use crate::limits::{LimitKind, Limits};

/// The most extension headers before one member. The formats need at most three (`x`, `L`, `K`).
const MAX_EXTENSIONS: usize = 8;

/// Reads members one after another from an uncompressed archive.
///
/// Memory is bounded by the limits, whatever the archive says: extension headers are kept in memory up to [`Limits::header`],
/// content is not.
pub struct Archive<R> {
    reader: R,
    limits: Limits,
    /// Bytes taken from the reader.
    offset: u64,
    /// Unread content of the current member, and the padding after it.
    content_left: u64,
    padding: u64,
    global: Records,
    entries: u64,
    /// Directories that were created for entries below them and have no entry.
    implied: u64,
    /// Logical bytes of all files so far, and those of their extended attributes.
    bytes: u64,
    /// Whether a stream of zero bytes is an empty archive.
    may_be_empty: bool,
    position: Position,
}

/// Extension headers collected for the next member.
#[derive(Default)]
struct Extensions {
    count: usize,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Option<Records>,
}

impl<R: BufRead> Archive<R> {
    /// An archive that starts at the reader's next byte.
    pub fn new(reader: R, limits: Limits) -> Archive<R> {
        Archive {
            reader,
            limits,
            offset: 0,
            content_left: 0,
            padding: 0,
            global: Records::default(),
            entries: 0,
            implied: 0,
            bytes: 0,
            may_be_empty: false,
            position: Position::default(),
        }
    }

    /// Accepts a stream of zero bytes as an empty archive, as Go's archive/tar does. GNU tar does not: it may be what a failed download
    /// or pipe left. To be used only for a layer with the digest of zero bytes.
    pub(crate) fn accept_nothing(&mut self) {
        self.may_be_empty = true;
    }

    /// The next member. None at the end of the archive. Skips unread content of the member before.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        loop {
            self.position = Position {
                entry: None,
                offset: self.offset,
            };
            let Some(block) = self.header_block()? else {
                if extensions.count > 0 {
                    return Err(self.fail(Problem::Dangling));
                }
                return Ok(None);
            };
            self.position.entry = display_name(&block);
            let header = Header::parse(&block).map_err(|problem| self.fail(problem))?;
            let flag = header.type_flag().map_err(|problem| self.fail(problem))?;
            match flag {
                TypeFlag::PaxLocal
                | TypeFlag::PaxGlobal
                | TypeFlag::GnuLongName
                | TypeFlag::GnuLongLink => {
                    self.extension(flag, &header, &mut extensions)?;
                }
                TypeFlag::GnuVolume => {
                    self.content_left = header.size().map_err(|problem| self.fail(problem))?;
                    self.padding = padding(self.content_left);
                    self.count_entry()?;
                    self.skip_content()?;
                }
                _ => return self.member(&header, flag, extensions).map(Some),
            }
        }
    }

    /// The next part of the current member's content. Empty at its end. Call [`Archive::consume`] with the number of bytes used.
    pub fn content(&mut self) -> Result<&[u8], Error> {
        if self.content_left == 0 {
            return Ok(&[]);
        }
        // Called twice, as the borrow checker cannot see that the error path ends here.
        let available = match self.reader.fill_buf() {
            Ok(buffer) => buffer.len(),
            Err(error) => return Err(self.read_error(error)),
        };
        if available == 0 {
            return Err(self.fail(Problem::Truncated {
                missing: self.content_left + self.padding,
            }));
        }
        let take = usize::try_from(self.content_left)
            .unwrap_or(usize::MAX)
            .min(available);
        let position = &self.position;
        self.reader
            .fill_buf()
            .map(|buffer| &buffer[..take])
            .map_err(|error| read_error(error, position))
    }

    /// Skips `count` bytes of what [`Archive::content`] returned.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(
            count as u64 <= self.content_left,
            "no more is consumed than was given"
        );
        self.reader.consume(count);
        self.offset += count as u64;
        self.content_left -= count as u64;
    }

    /// Reads from the last member to the end of the stream, ignoring what is there, as `tar` does.
    pub fn drain(&mut self) -> Result<(), Error> {
        loop {
            let count = match self.reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(buffer) => buffer.len(),
                Err(error) => return Err(self.read_error(error)),
            };
            self.reader.consume(count);
            self.offset += count as u64;
        }
    }

    /// The position of the current member's header, for errors.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The number of members so far, and the size of their files and attributes.
    pub fn totals(&self) -> (u64, u64) {
        (self.entries, self.bytes)
    }

    /// The underlying stream, after the last member was read.
    pub(crate) fn reader_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The underlying stream.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// Reads an extension header into `extensions`, or into the global records.
    fn extension(
        &mut self,
        flag: TypeFlag,
        header: &Header<'_>,
        extensions: &mut Extensions,
    ) -> Result<(), Error> {
        extensions.count += 1;
        if extensions.count > MAX_EXTENSIONS {
            return Err(self.fail(Problem::ManyHeaders(MAX_EXTENSIONS)));
        }
        let size = header.size().map_err(|problem| self.fail(problem))?;
        let text = self.read_extension(size)?;
        let taken = match flag {
            TypeFlag::PaxLocal => extensions
                .records
                .get_or_insert_with(|| self.global.clone())
                .local(&text),
            TypeFlag::PaxGlobal => {
                extensions.count -= 1;
                self.count_entry()?;
                self.global.global(&text)
            }
            TypeFlag::GnuLongName => {
                extensions.long_name = Some(until_nul(text));
                Ok(())
            }
            _ => {
                extensions.long_link = Some(until_nul(text));
                Ok(())
            }
        };
        taken.map_err(|problem| self.fail(problem))
    }

    /// Combines a member's header and the extension headers before it.
    fn member(
        &mut self,
        header: &Header<'_>,
        flag: TypeFlag,
        extensions: Extensions,
    ) -> Result<Entry, Error> {
        self.count_entry()?;
        let records = extensions.records.as_ref().unwrap_or(&self.global);
        let long_name = extensions.long_name.as_deref();
        if let Some(name) = records.name().or(long_name) {
            self.position.entry = Some(name.to_vec());
        }
        let mut member = assemble::Member::new(
            header,
            flag,
            records,
            long_name,
            extensions.long_link.as_deref(),
        )
        .map_err(|problem| self.fail(problem))?;
        self.content_left = member.stored();
        self.padding = padding(self.content_left);
        if flag == TypeFlag::GnuSparse {
            let segments = self.gnu_sparse_map(header)?;
            member.set_sparse(segments);
        } else if member.map_in_content() {
            let segments = self.pax_sparse_map()?;
            member.set_sparse(segments);
        }
        let entry = member
            .finish(self.content_left, &self.limits)
            .map_err(|problem| self.fail(problem))?;
        // The attributes of a global header are written for each entry.
        self.bytes = self
            .bytes
            .saturating_add(entry.size())
            .saturating_add(xattr_bytes(&entry.metadata.xattrs));
        if self.bytes > self.limits.bytes {
            let (value, allowed) = (self.bytes, self.limits.bytes);
            return Err(self.fail(Problem::Limit {
                limit: LimitKind::Bytes,
                value,
                allowed,
            }));
        }
        Ok(entry)
    }

    /// Old GNU sparse files: the map begins in the header and continues in extension blocks, which `size` does not include.
    fn gnu_sparse_map(&mut self, header: &Header<'_>) -> Result<Vec<Segment>, Error> {
        let (mut segments, mut more, _) =
            header.gnu_sparse().map_err(|problem| self.fail(problem))?;
        let mut read = 0;
        while more {
            read += BLOCK as u64;
            self.check_header_size(read)?;
            let block = self.block()?;
            let (next, another) =
                gnu_sparse_extension(&block).map_err(|problem| self.fail(problem))?;
            segments.extend(next);
            more = another;
        }
        Ok(segments)
    }

    /// PAX sparse files of version 1.0: the map is at the beginning of the content, and `size` includes it.
    fn pax_sparse_map(&mut self) -> Result<Vec<Segment>, Error> {
        let mut map = MapReader::default();
        let mut read = 0;
        loop {
            read += BLOCK as u64;
            self.check_header_size(read)?;
            if self.content_left < BLOCK as u64 {
                return Err(self.fail(Problem::Sparse(
                    "the map is longer than the content it is in",
                )));
            }
            let block = self.block()?;
            self.content_left -= BLOCK as u64;
            if let Some(segments) = map.block(&block).map_err(|problem| self.fail(problem))? {
                return Ok(segments);
            }
        }
    }

    fn check_header_size(&self, size: u64) -> Result<(), Error> {
        if size > self.limits.header {
            let allowed = self.limits.header;
            return Err(self.fail(Problem::Limit {
                limit: LimitKind::Header,
                value: size,
                allowed,
            }));
        }
        Ok(())
    }

    fn count_entry(&mut self) -> Result<(), Error> {
        self.entries += 1;
        self.check_entries()
    }

    /// Counts directories that were created for the current member's path like entries.
    pub(crate) fn count_implied(&mut self, directories: u64) -> Result<(), Error> {
        self.implied += directories;
        self.check_entries()
    }

    fn check_entries(&self) -> Result<(), Error> {
        let value = self.entries + self.implied;
        if value > self.limits.entries {
            let allowed = self.limits.entries;
            return Err(self.fail(Problem::Limit {
                limit: LimitKind::Entries,
                value,
                allowed,
            }));
        }
        Ok(())
    }

    /// An extension header's content. Memory grows with what is actually there, not with what the header claims.
    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        self.check_header_size(size)?;
        self.content_left = size;
        self.padding = padding(size);
        let mut text = Vec::new();
        loop {
            let slice = self.content()?;
            let count = slice.len();
            if count == 0 {
                break;
            }
            text.extend_from_slice(slice);
            self.consume(count);
        }
        self.skip_content()?;
        Ok(text)
    }

    fn skip_content(&mut self) -> Result<(), Error> {
        loop {
            let count = self.content()?.len();
            if count == 0 {
                break;
            }
            self.consume(count);
        }
        // The padding is skipped the same way.
        self.content_left = std::mem::take(&mut self.padding);
        while self.content_left > 0 {
            let count = self.content()?.len();
            self.consume(count);
        }
        Ok(())
    }

    /// The next header. None at the end, which is two blocks of zeros. Some writers leave out one or both of them, and GNU tar, bsdtar
    /// and Go's archive/tar agree that an archive is complete after its last member. The decoder reports a compressed stream that is
    /// truncated there.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let Some(block) = self.try_block()? else {
            return match self.offset {
                0 if !self.may_be_empty => Err(self.fail(Problem::Empty)),
                _ => Ok(None),
            };
        };
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        match self.try_block()? {
            None => Ok(None),
            Some(second) if second == [0; BLOCK] => Ok(None),
            Some(_) => Err(self.fail(Problem::LoneZeroBlock)),
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Error> {
        match self.try_block()? {
            Some(block) => Ok(block),
            None => Err(self.fail(Problem::Truncated {
                missing: BLOCK as u64,
            })),
        }
    }

    /// A whole block. None at the end of the stream.
    fn try_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) => return Err(self.read_error(error)),
            };
            if buffer.is_empty() {
                if filled == 0 {
                    return Ok(None);
                }
                if self.offset == filled as u64 {
                    return Err(self.fail(Problem::Short(filled)));
                }
                return Err(self.fail(Problem::Truncated {
                    missing: (BLOCK - filled) as u64,
                }));
            }
            let count = buffer.len().min(BLOCK - filled);
            block[filled..filled + count].copy_from_slice(&buffer[..count]);
            self.reader.consume(count);
            filled += count;
            self.offset += count as u64;
        }
        Ok(Some(block))
    }

    fn fail(&self, problem: Problem) -> Error {
        Error::Archive {
            position: self.position.clone(),
            problem,
        }
    }

    fn read_error(&self, error: std::io::Error) -> Error {
        read_error(error, &self.position)
    }
}

/// A problem of the decoder arrives inside an `io::Error`. Adds the entry that it affects.
fn read_error(error: std::io::Error, position: &Position) -> Error {
    match error.downcast::<Problem>() {
        Ok(problem) => Error::Archive {
            position: position.clone(),
            problem,
        },
        Err(error) => match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::Read(error),
        },
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|&b| b == 0) {
        text.truncate(end);
    }
    text
}
