//! Files from several locations: one location after the other, each tried as often as that makes sense.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use box_cache::{Event, Progress};
use reqwest::Url;

use crate::attempt::{Attempts, Cause};
use crate::body::Body;
use crate::client::{Client, ClientOptions, Request, Resume};
use crate::error::Result;
use crate::location::Location;
use crate::retry::{Backoff, Retry};

/// Fetches files. It keeps the client's thread alive until it is dropped.
pub struct Fetcher<'a> {
    opener: Box<dyn Open + 'a>,
    retry: &'a Retry,
    progress: &'a dyn Progress,
    /// The hosts in whose place another one was asked, each of which was named once.
    forsaken: Mutex<BTreeSet<String>>,
}

/// Opens files at URLs. [`Client`] does so as they stand; others may have to authenticate before.
pub trait Open: Send + Sync {
    /// Opens the file at `url`, from `resume` on where that is possible. One try.
    ///
    /// # Errors
    /// The inner failure is the server's: another try or another location may do better.
    fn open(&self, url: &Url, resume: Option<&Resume>) -> Result<Result<Body, Cause>>;
}

impl Open for Client {
    fn open(&self, url: &Url, resume: Option<&Resume>) -> Result<Result<Body, Cause>> {
        let sent = self.send(&Request {
            resume,
            ..Request::new(url)
        })?;
        Ok(sent.and_then(|response| Body::of_answer(response, resume)))
    }
}

/// How one try ended that did not bring the whole file.
pub struct FailedTry {
    /// Why it ended.
    pub cause: Cause,
    /// Whether it brought enough that the number of tries may start over.
    pub progressed: bool,
}

impl From<Cause> for FailedTry {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            progressed: false,
        }
    }
}

impl<'a> Fetcher<'a> {
    /// Fetches with a client of its own. Connects to nothing yet. Retries are reported to `progress`.
    pub fn new(options: &ClientOptions, retry: &'a Retry, progress: &'a dyn Progress) -> Self {
        Self::with(Box::new(Client::new(options)), retry, progress)
    }

    /// Fetches with `opener`. Retries are reported to `progress`.
    pub fn with(opener: Box<dyn Open + 'a>, retry: &'a Retry, progress: &'a dyn Progress) -> Self {
        Self {
            opener,
            retry,
            progress,
            forsaken: Mutex::default(),
        }
    }

    /// A small document of at most `limit` bytes from the first location that has it, and the URL it came from. A
    /// document that `read` refuses is a failure of its location like others: the next location is tried.
    pub fn document<T>(
        &self,
        locations: &[Location],
        limit: u64,
        read: impl Fn(&[u8]) -> Result<T, Cause>,
    ) -> Result<Result<(T, String), Attempts>> {
        self.try_each(locations, |location| {
            let (bytes, url) = match self.small(location, limit)? {
                Ok(got) => got,
                Err(cause) => return Ok(Err(cause.into())),
            };
            Ok(read(&bytes)
                .map(|document| (document, url))
                .map_err(FailedTry::from))
        })
    }

    /// Tries each location, each again while that can help, until `once` succeeds. A location that is given up for the next one is said in
    /// one line.
    pub fn try_each<T>(
        &self,
        locations: &[Location],
        mut once: impl FnMut(&Location) -> Result<Result<T, FailedTry>>,
    ) -> Result<Result<T, Attempts>> {
        let mut attempts = Attempts::default();
        let mut following = locations.iter().skip(1);
        for location in locations {
            let next = following.next();
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
                    true => backoff.next_pause(cause.retry_after()),
                    false => None,
                };
                tracing::debug!(%location, %cause, ?pause, "a try failed");
                if let Some(pause) = pause {
                    self.note(&format!(
                        "{location}: {cause}; retrying in {:.1} s",
                        pause.as_secs_f32()
                    ));
                }
                if let (None, Some(next)) = (pause, next) {
                    self.forsake(location, &cause, next);
                }
                attempts.push(location.to_string(), cause);
                match pause {
                    Some(pause) => std::thread::sleep(pause),
                    None => break,
                }
            }
        }
        Ok(Err(attempts))
    }

    /// Opens the file at a location, from `resume` on where that is possible. One try.
    pub fn open(
        &self,
        location: &Location,
        resume: Option<&Resume>,
    ) -> Result<Result<Body, Cause>> {
        match location {
            Location::Http(url) => self.opener.open(url, resume),
            Location::File(path) => Ok(Body::file(path, resume.map_or(0, |resume| resume.offset))),
        }
    }

    /// All of a small file, and the URL it came from. One try.
    pub fn small(
        &self,
        location: &Location,
        limit: u64,
    ) -> Result<Result<(Vec<u8>, String), Cause>> {
        let mut body = match self.open(location, None)? {
            Ok(body) => body,
            Err(cause) => return Ok(Err(cause)),
        };
        if body.size.is_some_and(|size| size > limit) {
            return Ok(Err(Cause::TooLong { limit }));
        }
        let (mut bytes, mut buffer) = (Vec::new(), [0; 8 << 10]);
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(Ok((bytes, body.url))),
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(cause) => return Ok(Err(cause)),
            }
            if bytes.len() as u64 > limit {
                return Ok(Err(Cause::TooLong { limit }));
            }
        }
    }

    /// Says once for each host that another one is asked in its place. A file that a mirror does not have (yet) is no fault of it.
    fn forsake(&self, location: &Location, cause: &Cause, next: &Location) {
        let other = host(next);
        let host = host(location);
        if cause.is_absent() || host == other {
            return;
        }
        let mut forsaken = self.forsaken.lock().unwrap_or_else(PoisonError::into_inner);
        if forsaken.insert(host) {
            let text = format!("{location}: {cause}; trying {next}");
            self.progress.event(Event::Warning { text: &text });
        }
    }

    pub(crate) fn note(&self, text: &str) {
        self.progress.event(Event::Note { text });
    }
}

/// The host of a location with its port, or its directory, for people.
fn host(location: &Location) -> String {
    match location {
        Location::Http(url) => {
            let port = url.port().map_or(String::new(), |port| format!(":{port}"));
            format!("{}{port}", url.host_str().unwrap_or_default())
        }
        Location::File(path) => {
            let parent = path.parent().unwrap_or(path);
            Location::File(parent.to_owned()).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Keeps the notes.
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Progress for Notes {
        fn event(&self, event: Event<'_>) {
            if let Event::Note { text } | Event::Warning { text } = event {
                self.0.lock().unwrap().push(text.to_owned());
            }
        }
    }

    #[test]
    fn a_mirror_that_fails_is_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let (lame, lagging, good) = (
            dir.path().join("lame"),
            dir.path().join("lagging"),
            dir.path().join("good"),
        );
        for name in ["one", "two"] {
            // A directory in the place of a file is a fault; a missing file is none.
            std::fs::create_dir_all(lame.join(name)).unwrap();
            std::fs::create_dir_all(&good).unwrap();
            std::fs::write(good.join(name), name).unwrap();
        }
        let (notes, retry) = (Notes::default(), Retry::default());
        let fetcher = Fetcher::new(&ClientOptions::default(), &retry, &notes);
        for name in ["one", "two"] {
            let at = |dir: &std::path::PathBuf| Location::File(dir.join(name));
            let locations = [at(&lagging), at(&lame), at(&good)];
            let read = |bytes: &[u8]| Ok::<_, Cause>(bytes.to_vec());
            let (bytes, _) = fetcher.document(&locations, 10, read).unwrap().unwrap();
            assert_eq!(bytes, name.as_bytes());
        }
        let notes = notes.0.lock().unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("it is a directory; trying"), "{notes:?}");
    }
}
