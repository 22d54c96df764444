//! Responses of a server, and their scripted faults.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A response. [`Response::new`] and similar functions build correct ones; the other methods add faults.
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields in the order in which they are sent; without `Content-Length`, the length of the body is added.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    drop_after: Option<u64>,
    stall_after: Option<u64>,
    corrupt_at: Option<u64>,
    bytes_per_second: Option<u64>,
    length: bool,
}

/// Bytes of a response.
pub enum Body {
    /// From memory.
    Bytes(Vec<u8>),
    /// `length` bytes of a file from `start` on.
    File {
        /// The file.
        path: PathBuf,
        /// Offset of the first byte.
        start: u64,
        /// Number of bytes.
        length: u64,
    },
    /// This many zero bytes, generated while they are sent.
    Zeros(u64),
    /// Some bytes, then zeros generated while they are sent.
    Padded {
        /// The bytes.
        head: Vec<u8>,
        /// Number of zeros.
        zeros: u64,
    },
    /// A block of bytes repeated several times, between a beginning and an end.
    Repeated {
        /// The bytes at the beginning.
        head: Vec<u8>,
        /// The repeated bytes.
        part: Vec<u8>,
        /// Number of repetitions.
        times: u64,
        /// The bytes at the end.
        tail: Vec<u8>,
    },
}

impl Response {
    /// `200 OK` with this body.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self::with(200, Body::Bytes(body.into()))
    }

    /// Only a status, with a short text.
    pub fn status(status: u16) -> Self {
        let text = format!("{status} {}\n", reason(status));
        Self::with(status, Body::Bytes(text.into_bytes()))
    }

    /// A redirection to `location`.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::status(302).header("Location", location)
    }

    /// Any status and body.
    pub fn with(status: u16, body: Body) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
            drop_after: None,
            stall_after: None,
            corrupt_at: None,
            bytes_per_second: None,
            length: true,
        }
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Closes the connection after `bytes` of the body.
    pub fn drop_after(mut self, bytes: u64) -> Self {
        self.drop_after = Some(bytes);
        self
    }

    /// Sends `bytes` of the body and then nothing, with the connection open, until the server ends.
    pub fn stall_after(mut self, bytes: u64) -> Self {
        self.stall_after = Some(bytes);
        self
    }

    /// Omits the length of the body, which ends with the connection.
    pub fn without_length(mut self) -> Self {
        self.length = false;
        self
    }

    /// Flips one bit of the byte at `offset` in the body.
    pub fn corrupt_at(mut self, offset: u64) -> Self {
        self.corrupt_at = Some(offset);
        self
    }

    /// Sends the body no faster than this.
    pub fn throttled(mut self, bytes_per_second: u64) -> Self {
        self.bytes_per_second = Some(bytes_per_second);
        self
    }

    /// Sends everything; `true` if the connection can carry another request.
    pub(super) fn send(self, stream: &mut dyn Write, head_only: bool, stop: &AtomicBool) -> bool {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let given = |n: &str| self.headers.iter().any(|(h, _)| h.eq_ignore_ascii_case(n));
        let honest = !given("content-length") && !given("transfer-encoding");
        if honest && self.length {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        if stream.write_all(head.as_bytes()).is_err() {
            return false;
        }
        if head_only || matches!(self.status, 204 | 304) {
            return stream.flush().is_ok();
        }
        self.send_body(stream, stop).is_ok_and(|whole| whole) && honest && self.length
    }

    /// Sends the body up to the scripted break; `Ok(false)` if it breaks off.
    fn send_body(&self, stream: &mut dyn Write, stop: &AtomicBool) -> std::io::Result<bool> {
        let mut source = self.body.open()?;
        stream.flush()?;
        let cut = self.drop_after.into_iter().chain(self.stall_after).min();
        let (mut sent, mut buffer) = (0_u64, vec![0; 64 << 10]);
        loop {
            let room = cut.map_or(buffer.len() as u64, |c| c - sent);
            let room = room.min(buffer.len() as u64) as usize;
            let n = source.read(&mut buffer[..room])?;
            if n == 0 {
                break;
            }
            if let Some(at) = self
                .corrupt_at
                .filter(|at| (sent..sent + n as u64).contains(at))
            {
                buffer[(at - sent) as usize] ^= 1;
            }
            stream.write_all(&buffer[..n])?;
            sent += n as u64;
            if let Some(speed) = self.bytes_per_second {
                stream.flush()?;
                std::thread::sleep(Duration::from_secs_f64(n as f64 / speed as f64));
            }
        }
        stream.flush()?;
        if self.stall_after == Some(sent) {
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(cut != Some(sent))
    }
}

impl Body {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } | Self::Zeros(length) => *length,
            Self::Padded { head, zeros } => head.len() as u64 + zeros,
            Self::Repeated {
                head,
                part,
                times,
                tail,
            } => (head.len() + tail.len()) as u64 + part.len() as u64 * times,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn open(&self) -> std::io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Bytes(bytes) => Box::new(bytes.as_slice()),
            Self::Zeros(length) => Box::new(std::io::repeat(0).take(*length)),
            Self::Padded { head, zeros } => {
                Box::new(head.as_slice().chain(std::io::repeat(0).take(*zeros)))
            }
            Self::Repeated {
                head,
                part,
                times,
                tail,
            } => {
                let parts = Repeat {
                    part,
                    at: 0,
                    left: *times,
                };
                Box::new(head.as_slice().chain(parts).chain(tail.as_slice()))
            }
            Self::File {
                path,
                start,
                length,
            } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*start))?;
                Box::new(file.take(*length))
            }
        })
    }
}

/// Reads the same bytes a number of times.
struct Repeat<'p> {
    part: &'p [u8],
    at: usize,
    left: u64,
}

impl Read for Repeat<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let count = (&self.part[self.at..]).read(buffer)?;
        self.at += count;
        if self.at == self.part.len() {
            self.at = 0;
            self.left -= 1;
        }
        Ok(count)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 | 302 | 307 | 308 => "Redirect",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
