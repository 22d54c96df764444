//! The bytes of one file, from wherever it is.

mod answer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::attempt::Cause;
use crate::client::{Response, Resume};
use crate::location::Location;

pub use answer::Validators;

/// One open file, to be read from an offset on.
pub struct Body {
    /// Where it is, after all redirections and without credentials.
    pub url: String,
    /// Offset of the first byte that [`Body::read`] returns.
    pub offset: u64,
    /// Size of the whole file, where it is known.
    pub size: Option<u64>,
    /// What identifies this version of the file.
    pub validators: Validators,
    /// Whether the server labels it a web page.
    pub html: bool,
    from: Bytes,
}

enum Bytes {
    File(File),
    Http(Box<Response>),
    Stream(Box<dyn Read>),
}

impl Body {
    /// A stream that the caller opened; `name` is for messages.
    pub fn stream(name: &str, stream: Box<dyn Read>) -> Self {
        Self {
            url: name.to_owned(),
            offset: 0,
            size: None,
            validators: Validators::default(),
            html: false,
            from: Bytes::Stream(stream),
        }
    }

    /// The file in an answer to a request, from `resume` on.
    ///
    /// # Errors
    /// Any status that brings none of its bytes is a failure.
    pub fn of_answer(response: Response, resume: Option<&Resume>) -> Result<Self, Cause> {
        answer::file(response, resume)
    }

    /// A regular file, from `offset` on, or from its start where it is shorter.
    pub(crate) fn file(path: &Path, offset: u64) -> Result<Self, Cause> {
        let absent = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Cause::Absent,
            _ => Cause::File(e),
        };
        // Checked before it is opened: opening a FIFO would wait for a writer.
        let meta = path.metadata().map_err(absent)?;
        if !meta.is_file() {
            let kind = match meta.is_dir() {
                true => "a directory",
                false => "not a regular file",
            };
            return Err(Cause::Protocol(format!("it is {kind}")));
        }
        let mut file = File::open(path).map_err(absent)?;
        let size = meta.len();
        let offset = if offset <= size { offset } else { 0 };
        file.seek(SeekFrom::Start(offset)).map_err(Cause::File)?;
        Ok(Self {
            url: Location::File(path.to_owned()).to_string(),
            offset,
            size: Some(size),
            validators: Validators::default(),
            html: false,
            from: Bytes::File(file),
        })
    }

    /// Reads the next bytes; 0 is the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        match &mut self.from {
            Bytes::Http(response) => response.read(buffer),
            Bytes::File(file) => read_some(file, buffer),
            Bytes::Stream(stream) => read_some(stream, buffer),
        }
    }
}

fn read_some(from: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, Cause> {
    loop {
        match from.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(Cause::File),
        }
    }
}
