//! bzip2: streams one after another, as parallel compressors write them.

use bzip2::{Decompress, Status};

use super::{Codec, Fault};

pub(super) struct Bzip2 {
    stream: Decompress,
    ended: bool,
}

impl Bzip2 {
    pub fn new() -> Bzip2 {
        Bzip2 {
            stream: Decompress::new(false),
            ended: false,
        }
    }
}

impl Codec for Bzip2 {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Fault> {
        if self.ended {
            match input.first() {
                None => return Ok((0, 0)),
                Some(b'B') => *self = Bzip2::new(),
                Some(_) => {
                    return Err(Fault::Damaged(
                        "what follows its last stream is not another one".to_owned(),
                    ));
                }
            }
        }
        let (taken, made) = (self.stream.total_in(), self.stream.total_out());
        match self
            .stream
            .decompress(input, output)
            .map_err(|error| error.to_string())?
        {
            Status::StreamEnd => self.ended = true,
            Status::MemNeeded => {
                return Err(Fault::Damaged(
                    "it needs more memory than there is".to_owned(),
                ));
            }
            _ => {}
        }
        // At most a buffer's length, which is a usize.
        Ok((
            (self.stream.total_in() - taken) as usize,
            (self.stream.total_out() - made) as usize,
        ))
    }

    fn complete(&self) -> bool {
        self.ended
    }
}
