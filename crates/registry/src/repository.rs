//! One repository of a registry, and reading from it.

mod blob;
mod manifest;
mod referrers;
mod tags;

use std::collections::VecDeque;

use box_cache::Digest;
use box_transfer::{Attempts, Backoff, Cause, Request, Response, Url};

use crate::auth::Access;
use crate::configuration::contacted;
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

    /// Tries one place after the other until `once` succeeds. What the registry itself says is final, however mirrors may have failed;
    /// where it is out of reach, mirrors that may recover are tried once more, with patience. A place that is given up for the next one
    /// is said in one line.
    pub(crate) fn try_each<'e, T>(
        &self,
        what: &str,
        endpoints: impl IntoIterator<Item = &'e Endpoint>,
        mut once: impl FnMut(&'e Endpoint) -> Result<Result<T, Cause>>,
    ) -> Result<T> {
        let mut attempts = Attempts::default();
        let mut queue: VecDeque<_> = self.session.in_order(endpoints).into();
        let mut recovering = Vec::new();
        while let Some(endpoint) = queue.pop_front() {
            let patient = queue.is_empty();
            if let Some(got) = self.try_one(endpoint, patient, &mut attempts, &mut once)? {
                return Ok(got);
            }
            let Some(last) = attempts.0.last() else {
                break;
            };
            let is_only = queue.is_empty() && attempts.0.len() == 1;
            if is_final(&last.cause) && (self.is_registry(endpoint) || is_only) {
                let host = match endpoint.host == contacted(self.name.host()) {
                    true => self.name.host(),
                    false => &endpoint.host,
                };
                let cause = attempts.0.pop().map_or(Cause::Absent, |last| last.cause);
                return Err(Error::of_cause(what.to_owned(), host, "", cause));
            }
            if !patient && last.cause.is_transient() {
                recovering.push(endpoint);
            }
            if queue.is_empty() {
                queue.extend(std::mem::take(&mut recovering));
            }
            if let Some(next) = queue.front() {
                self.session.note_failure(endpoint);
                self.session.warn_once(&format!(
                    "{} cannot serve {what}: {}; trying {}",
                    endpoint.host, last.cause, next.host
                ));
            }
        }
        Err(Error::Unreachable {
            what: what.to_owned(),
            attempts,
        })
    }

    /// Whether a place is the registry itself, and no mirror.
    fn is_registry(&self, endpoint: &Endpoint) -> bool {
        let registry = &self.places.registry;
        (&endpoint.host, &endpoint.path) == (&registry.host, &registry.path)
    }

    /// `None` for a failure, which is the last one of `attempts` then.
    fn try_one<'e, T>(
        &self,
        endpoint: &'e Endpoint,
        patient: bool,
        attempts: &mut Attempts,
        once: &mut impl FnMut(&'e Endpoint) -> Result<Result<T, Cause>>,
    ) -> Result<Option<T>> {
        let mut backoff = Backoff::new(&self.session.options.retry);
        loop {
            let cause = match once(endpoint)? {
                Ok(got) => return Ok(Some(got)),
                Err(cause) => cause,
            };
            let pause = match cause.is_transient() && patient {
                true => backoff.next_pause(cause.retry_after()),
                false => None,
            };
            tracing::debug!(host = endpoint.host, %cause, ?pause, "a request failed");
            let again = pause.map(|pause| {
                let seconds = pause.as_secs_f32();
                format!("{}: {cause}; retrying in {seconds:.1} s", endpoint.host)
            });
            attempts.push(endpoint.host.clone(), cause);
            let (Some(pause), Some(again)) = (pause, again) else {
                return Ok(None);
            };
            self.session.note(&again);
            std::thread::sleep(pause);
        }
    }
}

/// Whether the server has decided: it does not have this, or does not give it away.
fn is_final(cause: &Cause) -> bool {
    matches!(cause, Cause::Refused(_) | Cause::Absent)
}
