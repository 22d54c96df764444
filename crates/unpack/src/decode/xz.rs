//! xz: streams one after another, with their checks.

use liblzma::stream::{Action, CONCATENATED, Error, Status, Stream};

use super::{Codec, Fault};

/// Memory that the decoder needs beside the dictionary.
const OVERHEAD: u64 = 4 << 20;

pub(super) struct Xz {
    stream: Stream,
    ended: bool,
}

impl Xz {
    /// A decoder for dictionaries of `window` bytes at most.
    pub fn new(window: u64) -> Result<Xz, String> {
        let stream = Stream::new_stream_decoder(window.saturating_add(OVERHEAD), CONCATENATED);
        Ok(Xz {
            stream: stream.map_err(|error| error.to_string())?,
            ended: false,
        })
    }

    fn process(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        action: Action,
    ) -> Result<(usize, usize), Fault> {
        let (taken, made) = (self.stream.total_in(), self.stream.total_out());
        match self
            .stream
            .process(input, output, action)
            .map_err(|error| match error {
                Error::MemLimit => Fault::Window,
                error => Fault::Damaged(error.to_string()),
            })? {
            Status::StreamEnd => self.ended = true,
            // Only says that there is neither input nor room for output; the caller sees no progress.
            Status::MemNeeded => {}
            _ => {}
        }
        // At most a buffer's length, which is a usize.
        Ok((
            (self.stream.total_in() - taken) as usize,
            (self.stream.total_out() - made) as usize,
        ))
    }
}

impl Codec for Xz {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Fault> {
        if self.ended {
            return Ok((0, 0));
        }
        let action = if input.is_empty() {
            Action::Finish
        } else {
            Action::Run
        };
        self.process(input, output, action)
    }

    fn complete(&self) -> bool {
        self.ended
    }
}
