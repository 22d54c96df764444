//! gzip: members one after another, then nothing but zeros (as tapes were padded).

use flate2::{Decompress, FlushDecompress, Status};

use super::{Codec, Fault};

pub(super) struct Gzip {
    member: Decompress,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Member,
    BetweenMembers,
    Padding,
}

/// A gzip stream may use the whole window of 32 KiB.
const WINDOW_BITS: u8 = 15;

impl Gzip {
    pub fn new() -> Gzip {
        Gzip {
            member: Decompress::new_gzip(WINDOW_BITS),
            state: State::Member,
        }
    }
}

impl Codec for Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Fault> {
        match (self.state, input.first()) {
            (State::Member, _) => {}
            (State::BetweenMembers, Some(0x1f)) => *self = Gzip::new(),
            (State::BetweenMembers | State::Padding, None) => return Ok((0, 0)),
            (State::BetweenMembers | State::Padding, Some(0)) => {
                self.state = State::Padding;
                let zeros = input.iter().take_while(|&&b| b == 0).count();
                return Ok((zeros, 0));
            }
            (State::BetweenMembers | State::Padding, Some(_)) => {
                let reason = "what follows its last member is neither another one nor zeros";
                return Err(Fault::Damaged(reason.to_owned()));
            }
        }
        let (taken, made) = (self.member.total_in(), self.member.total_out());
        let status = self.member.decompress(input, output, FlushDecompress::None);
        let status =
            status.map_err(|error| error.message().unwrap_or("it cannot be decoded").to_owned())?;
        if status == Status::StreamEnd {
            self.state = State::BetweenMembers;
        }
        // At most a buffer's length, which is a usize.
        Ok((
            (self.member.total_in() - taken) as usize,
            (self.member.total_out() - made) as usize,
        ))
    }

    fn complete(&self) -> bool {
        self.state != State::Member
    }
}
