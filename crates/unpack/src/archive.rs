//! A stream of archive members: headers and their extensions put together, content handed on in slices.

use std::io::BufRead;

use crate::entry::{
    BLOCK, Entry, Header, MapReader, Problem, Records, Segment, TypeFlag, assemble, display_name,
    gnu_sparse_extension, xattr_bytes,
};
use crate::error::{Error, Position};
use crate::limits::{LimitKind, Limits};

/// Extension headers that may come before one member. The formats need three at most (`x`, `L`, `K`).
const MAX_EXTENSIONS: usize = 8;

/// Reads members one after another from an uncompressed archive.
///
/// Memory is bounded by the limits, whatever the archive says: extension headers are read whole up to
/// [`Limits::header`], content is never.
pub struct Archive<R> {
    reader: R,
    limits: Limits,
    /// Bytes taken from the reader.
    offset: u64,
    /// Content of the current member that was not taken yet, and the padding behind it.
    content_left: u64,
    padding: u64,
    global: Records,
    entries: u64,
    /// Directories that were made for entries below them, and have none of their own.
    implied: u64,
    /// Logical bytes of all files so far, and those of their extended attributes.
    bytes: u64,
    /// No bytes at all are an archive of nothing.
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
    /// An archive that begins at the reader's next byte.
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

    /// Takes a stream of no bytes at all for an archive of nothing, as Go's archive/tar does. GNU tar does not, and it is what
    /// is left of a download or a pipe that failed: only for a layer whose digest says so.
    pub(crate) fn accept_nothing(&mut self) {
        self.may_be_empty = true;
    }

    /// The next member; none at the end of the archive. Content of the last one that was not taken is skipped.
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

    /// Some of the current member's content that follows; empty once it is all taken.
    /// What was used of it is told to [`Archive::consume`].
    pub fn content(&mut self) -> Result<&[u8], Error> {
        if self.content_left == 0 {
            return Ok(&[]);
        }
        // Looked at twice, as the borrow checker cannot see that the error path ends here.
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

    /// Takes `count` bytes off what [`Archive::content`] gave.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(
            count as u64 <= self.content_left,
            "no more is consumed than was given"
        );
        self.reader.consume(count);
        self.offset += count as u64;
        self.content_left -= count as u64;
    }

    /// After the last member: reads on to the end of the stream, ignoring what is there, as `tar` does.
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

    /// Where the current member's header is, for errors about it.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Members so far, and the sum of their files' and attributes' sizes.
    pub fn totals(&self) -> (u64, u64) {
        (self.entries, self.bytes)
    }

    /// The stream itself, for who reads no more members.
    pub(crate) fn reader_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The stream itself.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// Takes an extension header's content into `extensions`, or into the global records.
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

    /// Puts the member's header and what came before it together.
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
        // A global header's attributes are written once for each entry.
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

    /// Old GNU sparse files: the map begins in the header and goes on in extension blocks, which `size` does not count.
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

    /// PAX sparse files of version 1.0: the map stands at the content's beginning and is counted by `size`.
    fn pax_sparse_map(&mut self) -> Result<Vec<Segment>, Error> {
        let mut map = MapReader::default();
        let mut read = 0;
        loop {
            read += BLOCK as u64;
            self.check_header_size(read)?;
            if self.content_left < BLOCK as u64 {
                return Err(self.fail(Problem::Sparse(
                    "the map goes past the content it stands in",
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

    /// Tells of directories that were made for the current member's path: they count as entries do.
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

    /// An extension header's content; memory grows with what is really there, not with what the header claims.
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

    /// The next header; none at the end, which is two blocks of zeros. Some writers leave one or both of them out, and GNU tar,
    /// bsdtar and Go's archive/tar agree that an archive is complete where its last member is. That a compressed stream
    /// is not cut there is the decoder's to say.
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

    /// A whole block; none at the stream's end.
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

/// Damage that the decoder met travels through `io::Error`; here it learns which entry it hit.
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
