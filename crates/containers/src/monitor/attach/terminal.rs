//! Attached to the terminal of a container.

use std::io::Write;
use std::os::fd::OwnedFd;

use box_run::tty::RawMode;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::stdio::stdin;

use super::{Outcome, Session, TICK};
use crate::monitor::socket::{KEYS, LONGEST, send_size};

impl Session<'_> {
    pub(super) fn at_terminal(
        &mut self,
        socket: &OwnedFd,
        out: &mut dyn Write,
    ) -> Result<Outcome, Errno> {
        let raw = if self.writing {
            RawMode::enter()?
        } else {
            None
        };
        send_size(socket)?;
        loop {
            if raw.as_ref().map_or(Ok(false), RawMode::catch_up)? {
                send_size(socket)?;
            }
            let away = raw.as_ref().is_some_and(RawMode::is_away);
            let mut files = vec![
                PollFd::new(socket, PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            if self.writing && !away {
                files.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
            match poll(&mut files, away.then_some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let ready: Vec<PollFlags> = files.iter().map(PollFd::revents).collect();
            if !ready[0].is_empty() {
                let mut buffer = [0u8; 16384];
                match recv(socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((0, _)) | Err(Errno::CONNRESET) if !self.is_ending()? => {
                        return Ok(Outcome::FellBehind);
                    }
                    Ok((0, _)) | Err(Errno::CONNRESET) => break,
                    // The output has no reader any more. The container goes on, as with a terminal that hung up.
                    Ok((length, _))
                        if out
                            .write_all(&buffer[..length])
                            .and_then(|()| out.flush())
                            .is_err() =>
                    {
                        return Ok(Outcome::Detached);
                    }
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if !ready[1].is_empty() && self.forward(Some((socket, raw.as_ref())))? {
                return Ok(Outcome::Detached);
            }
            if ready.get(2).is_some_and(|ready| !ready.is_empty()) && self.type_to(socket)? {
                return Ok(Outcome::Detached);
            }
        }
        drop(raw);
        Ok(Outcome::Ended)
    }

    /// Sends typed keys. Returns whether they were the detach keys.
    fn type_to(&mut self, socket: &OwnedFd) -> Result<bool, Errno> {
        let mut buffer = [0u8; LONGEST];
        buffer[0] = KEYS;
        let length = match rustix::io::read(stdin(), &mut buffer[1..]) {
            Ok(0) | Err(Errno::IO) => {
                self.writing = false;
                return Ok(false);
            }
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        for key in &buffer[1..=length] {
            let keys = &self.options.detach_keys;
            self.matched = match keys.get(self.matched) {
                Some(expected) if expected == key => self.matched + 1,
                _ => usize::from(keys.first() == Some(key)),
            };
            if !keys.is_empty() && self.matched == keys.len() {
                return Ok(true);
            }
        }
        match send(socket, &buffer[..=length], SendFlags::NOSIGNAL) {
            // The next read reports the end.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}
