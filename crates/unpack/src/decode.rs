//! Decompression of a stream that is pushed in pieces of any size. The format is detected.

mod bzip2;
mod gzip;
mod xz;
mod zstd;

use box_cache::Compression;

use crate::entry::Problem;
use crate::limits::{LimitKind, Limits, RATIO_GRACE};

/// A decoder of one compressed format.
trait Codec: Send {
    /// Decodes from `input` to `output` until one of them is used up. Returns the bytes read and written.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Fault>;
    /// Whether the stream may end here.
    fn complete(&self) -> bool;
}

/// Why a codec failed.
enum Fault {
    /// The stream is damaged, with a reason.
    Damaged(String),
    /// Decoding needs more history than allowed.
    Window,
}

impl From<String> for Fault {
    fn from(reason: String) -> Fault {
        Fault::Damaged(reason)
    }
}

/// Decodes one archive in any known format, or an uncompressed one.
pub struct Decoder {
    state: State,
    limits: Limits,
    packed: u64,
    decoded: u64,
    failure: Option<Problem>,
}

enum State {
    /// The first bytes, until there are enough to detect the format.
    Start(Vec<u8>),
    Plain,
    Packed(Compression, Box<dyn Codec>),
}

impl Decoder {
    /// A decoder for a new stream.
    pub fn new(limits: Limits) -> Decoder {
        Decoder {
            state: State::Start(Vec::new()),
            limits,
            packed: 0,
            decoded: 0,
            failure: None,
        }
    }

    /// Decodes all of `input` into the buffers of `sink`, see [`Buffers`]. After a failure every call fails, as a codec must not be
    /// used again.
    pub fn write(&mut self, input: &[u8], sink: &mut impl Buffers) -> Result<(), Problem> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.take(input, sink)
            .inspect_err(|failure| self.failure = Some(failure.clone()))
    }

    fn take(&mut self, input: &[u8], sink: &mut impl Buffers) -> Result<(), Problem> {
        let State::Start(head) = &mut self.state else {
            return self.run(input, sink);
        };
        let missing = Compression::HEAD - head.len();
        if input.len() < missing {
            head.extend_from_slice(input);
            return Ok(());
        }
        let (magic, rest) = input.split_at(missing);
        head.extend_from_slice(magic);
        let head = std::mem::take(head);
        self.begin(&head)?;
        self.run(&head, sink)?;
        self.run(rest, sink)
    }

    /// Ends the stream: decodes the rest, and refuses a truncated stream.
    pub fn finish(&mut self, sink: &mut impl Buffers) -> Result<(), Problem> {
        self.write(&[], sink)?;
        self.end(sink)
            .inspect_err(|failure| self.failure = Some(failure.clone()))
    }

    fn end(&mut self, sink: &mut impl Buffers) -> Result<(), Problem> {
        if let State::Start(head) = &mut self.state {
            let head = std::mem::take(head);
            self.begin(&head)?;
            self.run(&head, sink)?;
        }
        self.drain(sink)?;
        match &self.state {
            State::Packed(format, codec) if !codec.complete() => Err(Problem::CompressedCut {
                format: format.as_str(),
                offset: self.packed,
            }),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, head: &[u8]) -> Result<(), Problem> {
        let format = Compression::detect(head);
        let unusable = |reason| Problem::Compressed {
            format: format.as_str(),
            offset: 0,
            reason,
        };
        let window = self.limits.window;
        let codec: Box<dyn Codec> = match format {
            Compression::None => {
                self.state = State::Plain;
                return Ok(());
            }
            Compression::Gzip => Box::new(gzip::Gzip::new()),
            Compression::Zstd => Box::new(zstd::Zstd::new(window).map_err(unusable)?),
            Compression::Xz => Box::new(xz::Xz::new(window).map_err(unusable)?),
            Compression::Bzip2 => Box::new(bzip2::Bzip2::new()),
        };
        self.state = State::Packed(format, codec);
        Ok(())
    }

    fn run(&mut self, mut input: &[u8], sink: &mut impl Buffers) -> Result<(), Problem> {
        while !input.is_empty() && sink.is_open() {
            let (taken, _) = self.step(input, sink)?;
            input = &input[taken..];
        }
        Ok(())
    }

    /// Lets a codec write what it has buffered.
    fn drain(&mut self, sink: &mut impl Buffers) -> Result<(), Problem> {
        while let State::Packed(..) = self.state {
            if !sink.is_open() || self.step(&[], sink)?.1 == 0 {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self, input: &[u8], sink: &mut impl Buffers) -> Result<(usize, usize), Problem> {
        let output = sink.spare();
        let (taken, made) = match &mut self.state {
            State::Packed(format, codec) => {
                let (format, offset) = (format.as_str(), self.packed);
                codec.step(input, output).map_err(|fault| match fault {
                    Fault::Damaged(reason) => Problem::Compressed {
                        format,
                        offset,
                        reason,
                    },
                    Fault::Window => Problem::Window {
                        format,
                        allowed: self.limits.window,
                    },
                })?
            }
            State::Plain | State::Start(_) => {
                let count = input.len().min(output.len());
                output[..count].copy_from_slice(&input[..count]);
                (count, count)
            }
        };
        self.packed += taken as u64;
        self.decoded += made as u64;
        self.check()?;
        sink.filled(made);
        if let (State::Packed(format, _), 0, 0, false) =
            (&self.state, taken, made, input.is_empty())
        {
            let reason = "the decoder makes no progress".to_owned();
            return Err(Problem::Compressed {
                format: format.as_str(),
                offset: self.packed,
                reason,
            });
        }
        Ok((taken, made))
    }

    fn check(&self) -> Result<(), Problem> {
        let limits = &self.limits;
        if self.decoded > limits.bytes {
            return Err(Problem::Limit {
                limit: LimitKind::Bytes,
                value: self.decoded,
                allowed: limits.bytes,
            });
        }
        if self.decoded > RATIO_GRACE && self.decoded / limits.ratio > self.packed {
            return Err(Problem::Ratio {
                decoded: self.decoded,
                packed: self.packed,
                allowed: limits.ratio,
            });
        }
        Ok(())
    }
}

/// Receives decoded bytes.
pub trait Buffers {
    /// A buffer for at least one byte.
    fn spare(&mut self) -> &mut [u8];
    /// The first `count` bytes of that buffer were filled.
    fn filled(&mut self, count: usize);
    /// False once no more bytes are wanted.
    fn is_open(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
