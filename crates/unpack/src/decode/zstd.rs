//! zstd: one or several frames, some of which may be skippable.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{Codec, Fault};

pub(super) struct Zstd {
    decoder: Decoder<'static>,
    /// The last step ended and flushed a frame.
    frame_ended: bool,
}

impl Zstd {
    /// A decoder that keeps at most `window` bytes of history.
    pub fn new(window: u64) -> Result<Zstd, String> {
        let mut decoder = Decoder::new().map_err(|error| error.to_string())?;
        // The smallest and the largest window the format has on 64-bit machines.
        let log = window.max(1).ilog2().clamp(10, 31);
        decoder
            .set_parameter(DParameter::WindowLogMax(log))
            .map_err(|error| error.to_string())?;
        Ok(Zstd {
            decoder,
            frame_ended: false,
        })
    }
}

impl Codec for Zstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Fault> {
        if input.is_empty() && self.frame_ended {
            return Ok((0, 0));
        }
        let mut from = InBuffer::around(input);
        let mut to = OutBuffer::around(output);
        let hint = self
            .decoder
            .run(&mut from, &mut to)
            .map_err(|error| fault(&error))?;
        self.frame_ended = hint == 0;
        Ok((from.pos(), to.pos()))
    }

    fn complete(&self) -> bool {
        self.frame_ended
    }
}

/// The library reports its own error codes as text only.
fn fault(error: &std::io::Error) -> Fault {
    match error.to_string() {
        text if text.contains("too much memory") => Fault::Window,
        text => Fault::Damaged(text),
    }
}
