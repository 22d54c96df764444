//! One repository of a registry, and reading from it.

mod blob;
mod manifest;
mod referrers;
mod tags;

use box_cache::Digest;
use box_transfer::{Attempts, Backoff, Cause, Request, Response, Url};

use crate::auth::Access;
use crate::endpoint::{Answers, Endpoint};
use crate::session::Registry;
use crate::{Error, Places, RepositoryName, Result};

/// A repository, within a session.
pub struct Repository<'r> {
    pub(crate) session: &'r Registry<'r>,
    pub(crate) name: RepositoryName,
    pub(crate) places: Places,
}

/// A manifest that is wanted.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The one that a tag names.
    Tag(&'a str),
    /// The one that has a digest.
    Digest(&'a Digest),
}

impl Wanted<'_> {
    /// Whether an endpoint may be asked for it.
    fn may_come_from(&self, endpoint: &Endpoint) -> bool {
        match (endpoint.answers, self) {
            (Answers::All, _) | (Answers::Digests, Self::Digest(_)) => true,
            (Answers::Tags, Self::Tag(_)) => true,
            (Answers::Digests, Self::Tag(_)) | (Answers::Tags, Self::Digest(_)) => false,
        }
    }

    /// The last part of a URL.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Tag(tag) => (*tag).to_owned(),
            Self::Digest(digest) => digest.to_string(),
        }
    }

    /// The name with this tag or digest.
    pub(crate) fn of(&self, name: &RepositoryName) -> String {
        match self {
            Self::Tag(tag) => format!("{name}:{tag}"),
            Self::Digest(digest) => format!("{name}@{digest}"),
        }
    }
}

impl<'r> Repository<'r> {
    pub(crate) fn new(session: &'r Registry<'r>, name: RepositoryName, places: Places) -> Self {
        Self {
            session,
            name,
            places,
        }
    }

    /// Its name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The URL of something in the repository, by its path there, such as `manifests/latest`.
    pub(crate) fn url(&self, endpoint: &Endpoint, path: &str) -> Result<Url> {
        self.session
            .url(endpoint, &format!("/v2/{}/{path}", endpoint.path))
    }

    /// Sends a request to one of the places of the repository: see [`Registry::send`].
    pub(crate) fn send(
        &self,
        endpoint: &Endpoint,
        access: &Access,
        request: &Request<'_>,
    ) -> Result<Result<Response, Cause>> {
        self.session.send(&self.name, endpoint, access, request)
    }

    /// Tries one place after the other until `once` succeeds, the last one again while that can help. A place that is given up for the
    /// next one is said in one line.
    pub(crate) fn try_each<'e, T>(
        &self,
        what: &str,
        endpoints: impl IntoIterator<Item = &'e Endpoint>,
        mut once: impl FnMut(&'e Endpoint) -> Result<Result<T, Cause>>,
    ) -> Result<T> {
        let mut attempts = Attempts::default();
        let mut endpoints = self.session.in_order(endpoints).into_iter().peekable();
        let mut last = Err(Cause::Absent);
        let mut host = self.name.host();
        while let Some(endpoint) = endpoints.next() {
            host = &endpoint.host;
            let is_last = endpoints.peek().is_none();
            last = self.try_one(endpoint, is_last, &mut attempts, &mut once)?;
            match (&last, endpoints.peek()) {
                (Ok(_), _) => break,
                (Err(cause), Some(next)) => {
                    if !cause.is_absent() {
                        self.session.note_outage(endpoint);
                    }
                    self.session.note_once(&format!(
                        "{host} cannot serve {what}: {cause}; trying {}",
                        next.host
                    ));
                }
                (Err(_), None) => {}
            }
        }
        match last {
            Ok(got) => Ok(got),
            Err(cause @ (Cause::Refused(_) | Cause::Absent)) => {
                let host = match host == crate::configuration::contacted(self.name.host()) {
                    true => self.name.host(),
                    false => host,
                };
                Err(Error::of_cause(what.to_owned(), host, "", cause))
            }
            Err(_) => Err(Error::Unreachable {
                what: what.to_owned(),
                attempts,
            }),
        }
    }

    fn try_one<'e, T>(
        &self,
        endpoint: &'e Endpoint,
        is_last: bool,
        attempts: &mut Attempts,
        once: &mut impl FnMut(&'e Endpoint) -> Result<Result<T, Cause>>,
    ) -> Result<Result<T, Cause>> {
        let mut backoff = Backoff::new(&self.session.options.retry);
        loop {
            let cause = match once(endpoint)? {
                Ok(got) => return Ok(Ok(got)),
                Err(cause) => cause,
            };
            let pause = match cause.is_transient() && is_last {
                true => backoff.next_pause(cause.retry_after()),
                false => None,
            };
            tracing::debug!(host = endpoint.host, %cause, ?pause, "a request failed");
            let Some(pause) = pause else {
                let shown = cause.to_string();
                attempts.push(endpoint.host.clone(), cause);
                return Ok(Err(match attempts.0.last() {
                    Some(last) => again(&last.cause, shown),
                    None => Cause::Protocol(shown),
                }));
            };
            self.session.note(&format!(
                "{}: {cause}; retrying in {:.1} s",
                endpoint.host,
                pause.as_secs_f32()
            ));
            attempts.push(endpoint.host.clone(), cause);
            std::thread::sleep(pause);
        }
    }
}

/// A cause is not cloned; what the caller needs of it is.
fn again(cause: &Cause, shown: String) -> Cause {
    match cause {
        Cause::Absent => Cause::Absent,
        Cause::Refused(refusal) => Cause::Refused(refusal.clone()),
        _ => Cause::Protocol(shown),
    }
}
