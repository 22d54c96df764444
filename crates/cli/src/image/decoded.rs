//! Reading a compressed stream as a plain one.

use std::io::{self, Read};

use box_unpack::{Buffers, Decoder, Limits};

/// Compressed bytes read at once. All decoded bytes of one piece are kept in memory, which the limit on the ratio bounds.
const PIECE: usize = 16 << 10;

/// Decompresses a stream in any known format, or reads an uncompressed one.
pub struct Decoded<R> {
    inner: R,
    decoder: Decoder,
    plain: Plain,
    given: usize,
    finished: bool,
}

/// Decoded bytes that were not read yet.
struct Plain {
    bytes: Vec<u8>,
    filled: usize,
}

impl<R: Read> Decoded<R> {
    /// Applies the limits of unpacking, which stop a decompression bomb.
    pub fn new(inner: R, limits: Limits) -> Decoded<R> {
        let plain = Plain {
            bytes: Vec::new(),
            filled: 0,
        };
        Decoded {
            inner,
            decoder: Decoder::new(limits),
            plain,
            given: 0,
            finished: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        (self.plain.filled, self.given) = (0, 0);
        let mut piece = [0; PIECE];
        let invalid = |problem: box_unpack::entry::Problem| {
            io::Error::new(io::ErrorKind::InvalidData, problem.to_string())
        };
        while self.plain.filled == 0 && !self.finished {
            match self.inner.read(&mut piece)? {
                0 => {
                    self.finished = true;
                    self.decoder.finish(&mut self.plain).map_err(invalid)?;
                }
                count => self
                    .decoder
                    .write(&piece[..count], &mut self.plain)
                    .map_err(invalid)?,
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.plain.filled {
            self.refill()?;
        }
        let count = buffer.len().min(self.plain.filled - self.given);
        buffer[..count].copy_from_slice(&self.plain.bytes[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

impl Buffers for Plain {
    fn spare(&mut self) -> &mut [u8] {
        if self.filled == self.bytes.len() {
            self.bytes.resize(self.filled + (64 << 10), 0);
        }
        &mut self.bytes[self.filled..]
    }

    fn filled(&mut self, count: usize) {
        self.filled += count;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn plain_and_packed_streams_read_the_same() {
        let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let packed = zstd_of(&text);
        for stream in [&text, &packed] {
            let mut read = Vec::new();
            Decoded::new(stream.as_slice(), Limits::default())
                .read_to_end(&mut read)
                .unwrap();
            assert!(read == text);
        }
        let cut = &packed[..packed.len() / 2];
        assert!(
            Decoded::new(cut, Limits::default())
                .read_to_end(&mut Vec::new())
                .is_err()
        );
    }

    fn zstd_of(text: &[u8]) -> Vec<u8> {
        // A frame of raw blocks (RFC 8878, section 3.1.1): a window of 128 KiB, then blocks that are not compressed.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        let mut blocks = text.chunks(100_000).peekable();
        while let Some(block) = blocks.next() {
            let header = (block.len() << 3) | usize::from(blocks.peek().is_none());
            frame.extend_from_slice(&u32::try_from(header).unwrap().to_le_bytes()[..3]);
            frame.extend_from_slice(block);
        }
        frame
    }
}
