//! Getting files from mirrors: one after the other, each as often as makes sense.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use box_cache::{Event, Progress};

use crate::error::{Cause, Result, Tried};
use crate::http::{Continue, FileVersion, Http, HttpOptions, Reply};
use crate::listing;
use crate::mirror::{Location, Mirror};
use crate::retry::{Backoff, Retry};

/// Largest listing of a directory that is read.
const LISTING_LIMIT: u64 = 2 << 20;

/// Fetches paths from a list of mirrors. It keeps the client's thread alive until it is dropped.
pub(crate) struct Fetcher<'a> {
    mirrors: &'a [Mirror],
    retry: &'a Retry,
    http: Http<'a>,
    pub(crate) progress: &'a dyn Progress,
}

/// One open file of a mirror, from an offset on.
pub(crate) struct Opened {
    /// Where it is in the end, without credentials.
    pub url: String,
    /// Offset of the first byte that [`Opened::read`] gives.
    pub offset: u64,
    /// Size of the whole file where it is known.
    pub size: Option<u64>,
    /// What identifies this version of the file.
    pub version: FileVersion,
    /// Whether the server calls it a web page.
    pub html: bool,
    from: From,
}

enum From {
    File(File),
    Http(Box<Reply>),
    Stream(Box<dyn Read>),
}

/// How one try ended that brought nothing whole.
pub(crate) struct Failed {
    pub cause: Cause,
    /// Whether it brought enough that the number of tries may start over.
    pub progressed: bool,
}

impl std::convert::From<Cause> for Failed {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            progressed: false,
        }
    }
}

impl<'a> Fetcher<'a> {
    pub(crate) fn new(
        mirrors: &'a [Mirror],
        http: &'a HttpOptions,
        retry: &'a Retry,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            mirrors,
            retry,
            http: Http::new(http),
            progress,
        }
    }

    /// Where `path` is on each mirror.
    pub(crate) fn locations(&self, path: &str) -> Vec<Location> {
        self.mirrors.iter().map(|mirror| mirror.at(path)).collect()
    }

    /// A small document of at most `limit` bytes, and where it came from. One that `read` refuses is a failure of its
    /// mirror like others: the next one is asked.
    ///
    /// The outer error is ours, the inner one that of all mirrors.
    pub(crate) fn document<T>(
        &self,
        path: &str,
        limit: u64,
        read: impl Fn(&[u8]) -> Result<T, Cause>,
    ) -> Result<Result<(T, String), Tried>> {
        self.try_each(&self.locations(path), |location| {
            let (bytes, url) = match self.small(location, limit)? {
                Ok(got) => got,
                Err(cause) => return Ok(Err(cause.into())),
            };
            Ok(read(&bytes)
                .map(|document| (document, url))
                .map_err(Failed::from))
        })
    }

    /// Names in the directory `path` (empty, or with a slash at its end) of the first mirror that lists it; without
    /// retries, as this only helps to word a message or to fill a list.
    pub(crate) fn listing(&self, path: &str) -> Result<Option<Vec<String>>> {
        for location in self.locations(path) {
            let names = match &location {
                Location::File(dir) => listing::of_directory(dir).ok(),
                Location::Http(_) => match self.small(&location, LISTING_LIMIT)? {
                    Ok((page, _)) => Some(listing::of_page(&String::from_utf8_lossy(&page))),
                    Err(_) => None,
                },
            };
            if let Some(names) = names.filter(|names| !names.is_empty()) {
                return Ok(Some(names));
            }
        }
        Ok(None)
    }

    /// Tries each location, each again while that can help, until `once` succeeds.
    pub(crate) fn try_each<T>(
        &self,
        locations: &[Location],
        mut once: impl FnMut(&Location) -> Result<Result<T, Failed>>,
    ) -> Result<Result<T, Tried>> {
        let mut tried = Tried::default();
        for location in locations {
            let mut backoff = Backoff::new(self.retry);
            loop {
                let failed = match once(location)? {
                    Ok(got) => return Ok(Ok(got)),
                    Err(failed) => failed,
                };
                if failed.progressed {
                    backoff.progressed();
                }
                let cause = failed.cause;
                let pause = match cause.is_transient() {
                    true => backoff.next(cause.retry_after()),
                    false => None,
                };
                tracing::debug!(%location, %cause, ?pause, "a try failed");
                if let Some(pause) = pause {
                    let text = format!(
                        "{location}: {cause}; next try in {:.1} s",
                        pause.as_secs_f32()
                    );
                    self.progress.event(Event::Note { text: &text });
                }
                tried.push(location.to_string(), cause);
                match pause {
                    Some(pause) => std::thread::sleep(pause),
                    None => break,
                }
            }
        }
        Ok(Err(tried))
    }

    /// Opens the file at a location, from an offset on where that works.
    pub(crate) fn open(
        &self,
        location: &Location,
        from: Option<&Continue>,
    ) -> Result<Result<Opened, Cause>> {
        Ok(match location {
            Location::Http(url) => self.http.get(url, from)?.map(|reply| Opened {
                url: reply.url.clone(),
                offset: reply.offset,
                size: reply.size,
                version: reply.version.clone(),
                html: reply.html,
                from: From::Http(Box::new(reply)),
            }),
            Location::File(path) => {
                open_file(path, from.map_or(0, |from| from.offset)).map(|(file, offset, size)| {
                    Opened {
                        url: location.to_string(),
                        offset,
                        size: Some(size),
                        version: FileVersion::default(),
                        html: false,
                        from: From::File(file),
                    }
                })
            }
        })
    }

    /// All of a small file, and where it came from.
    fn small(&self, location: &Location, limit: u64) -> Result<Result<(Vec<u8>, String), Cause>> {
        let mut opened = match self.open(location, None)? {
            Ok(opened) => opened,
            Err(cause) => return Ok(Err(cause)),
        };
        if opened.size.is_some_and(|size| size > limit) {
            return Ok(Err(Cause::TooLong { limit }));
        }
        let (mut bytes, mut buffer) = (Vec::new(), [0; 8 << 10]);
        loop {
            match opened.read(&mut buffer) {
                Ok(0) => return Ok(Ok((bytes, opened.url))),
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(cause) => return Ok(Err(cause)),
            }
            if bytes.len() as u64 > limit {
                return Ok(Err(Cause::TooLong { limit }));
            }
        }
    }
}

impl Opened {
    /// Reads the next bytes; 0 is the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        match &mut self.from {
            From::Http(reply) => reply.read(buffer),
            From::File(file) => read_some(file, buffer),
            From::Stream(stream) => read_some(stream, buffer),
        }
    }

    /// A stream that somebody opened; `name` is for messages.
    pub(crate) fn stream(name: &str, stream: Box<dyn Read>) -> Self {
        Self {
            url: name.to_owned(),
            offset: 0,
            size: None,
            version: FileVersion::default(),
            html: false,
            from: From::Stream(stream),
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

/// Opens a regular file at an offset, or at its start where it is shorter; with its size.
fn open_file(path: &Path, offset: u64) -> Result<(File, u64, u64), Cause> {
    let absent = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Cause::Absent,
        _ => Cause::File(e),
    };
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    let meta = path.metadata().map_err(absent)?;
    if !meta.is_file() {
        let kind = if meta.is_dir() {
            "a directory"
        } else {
            "no regular file"
        };
        return Err(Cause::Protocol(format!("it is {kind}")));
    }
    let mut file = File::open(path).map_err(absent)?;
    let size = meta.len();
    let offset = if offset <= size { offset } else { 0 };
    file.seek(SeekFrom::Start(offset)).map_err(Cause::File)?;
    Ok((file, offset, size))
}
