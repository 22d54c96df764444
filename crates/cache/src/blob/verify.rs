//! Reading bytes while verifying them.

use std::io::{self, Read};

use crate::{Digest, Error, Hasher, Result};

/// A reader that knows the expected size and digest of its bytes.
///
/// The bytes are not verified until [`VerifiedReader::finish`] has returned `Ok`: the caller must not publish anything made from
/// them before. It never returns more bytes than expected.
#[must_use = "bytes are not verified before finish"]
pub struct VerifiedReader<R> {
    inner: R,
    what: String,
    digest: Digest,
    size: u64,
    hasher: Hasher,
}

impl<R: Read> VerifiedReader<R> {
    /// Reads `size` bytes with that digest from `inner`. Errors name it `what` (a path or URL).
    pub fn new(inner: R, what: impl Into<String>, digest: Digest, size: u64) -> VerifiedReader<R> {
        VerifiedReader {
            inner,
            what: what.into(),
            hasher: Hasher::new(digest.algorithm()),
            digest,
            size,
        }
    }

    /// Reads the rest, and checks the size and digest of all bytes.
    pub fn finish(mut self) -> Result<()> {
        let mut buffer = [0; 8192];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        if self.hasher.bytes() != self.size {
            return Err(Error::SizeMismatch {
                what: self.what,
                expected: self.size,
                actual: self.hasher.bytes(),
            });
        }
        let actual = self.hasher.finish();
        if actual != self.digest {
            return Err(Error::digest_mismatch(self.what, self.digest, actual));
        }
        Ok(())
    }

    pub(crate) fn failure(&self, source: io::Error) -> Error {
        match source.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::Io {
                action: "read",
                path: (&self.what).into(),
                source,
            },
        }
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size - self.hasher.bytes();
        if left == 0 {
            // One more byte is enough to know that there are too many.
            let more = if buffer.is_empty() {
                0
            } else {
                self.inner.read(&mut [0])?
            };
            return match more {
                0 => Ok(0),
                _ => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    Error::SizeMismatch {
                        what: self.what.clone(),
                        expected: self.size,
                        actual: self.size + 1,
                    },
                )),
            };
        }
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most])?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reader(bytes: &'static [u8], size: u64) -> VerifiedReader<&'static [u8]> {
        VerifiedReader::new(bytes, "file", Digest::of(b"abc"), size)
    }

    #[test]
    fn the_right_bytes_pass_however_they_are_read() {
        reader(b"abc", 3).finish().unwrap();
        let mut partly = reader(b"abc", 3);
        partly.read_exact(&mut [0; 2]).unwrap();
        partly.finish().unwrap();
    }

    #[test]
    fn wrong_bytes_fail() {
        assert!(matches!(
            reader(b"abd", 3).finish(),
            Err(Error::DigestMismatch { .. })
        ));
        assert!(matches!(
            reader(b"ab", 3).finish(),
            Err(Error::SizeMismatch { actual: 2, .. })
        ));
        assert!(matches!(
            reader(b"abcd", 3).finish(),
            Err(Error::SizeMismatch { actual: 4, .. })
        ));
    }

    #[test]
    fn no_byte_beyond_the_expected_size_is_given_out() {
        let mut long = VerifiedReader::new(io::repeat(b'x'), "endless", Digest::of(b""), 5);
        let mut bytes = Vec::new();
        assert!(long.read_to_end(&mut bytes).is_err());
        assert_eq!(bytes, b"xxxxx");
    }
}
