//! A conversation with registries: connections, tokens, and what has been learned of their hosts.

mod connections;
mod opener;
mod quota;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use box_cache::{Event, Progress};
use box_transfer::header;
use box_transfer::{Cause, ClientOptions, Printable, Refusal, Request, Response, Retry, Url};

use crate::auth::{Access, Asker, Authorization, Challenge, Challenged, Slot, Slots};
use crate::complaint::Complaint;
use crate::configuration::contacted;
use crate::endpoint::Endpoint;
use crate::repository::Repository;
use crate::{Configuration, Credential, CredentialStore, Error, RepositoryName, Result};
use connections::Connections;
use opener::Served;

/// How to speak to registries.
#[derive(Debug, Default)]
pub struct Options {
    /// How to speak to servers. Its `netrc` is left empty: registries have credentials of their own.
    pub http: ClientOptions,
    /// When to try again.
    pub retry: Retry,
    /// Where repositories are.
    pub configuration: Configuration,
    /// Who the user is.
    pub credentials: CredentialStore,
}

/// A session with any number of registries, from any number of threads. Connects to nothing until it is asked for something.
///
/// It opens the URLs of blobs that its repositories hand out ([`Repository::locations`]) with the access that they need, and any other
/// URL without credentials: see [`box_transfer::Open`].
pub struct Registry<'a> {
    pub(crate) options: &'a Options,
    pub(crate) progress: &'a dyn Progress,
    connections: Connections,
    slots: Slots,
    served: Served,
    said: Mutex<HashSet<String>>,
    /// Hosts and paths of mirrors that failed: asked last from then on.
    down: Mutex<HashSet<(String, String)>>,
}

impl<'a> Registry<'a> {
    /// Connects to nothing yet. Notes go to `progress`.
    pub fn new(options: &'a Options, progress: &'a dyn Progress) -> Self {
        Self {
            options,
            progress,
            connections: Connections::default(),
            slots: Slots::default(),
            served: Served::default(),
            said: Mutex::default(),
            down: Mutex::default(),
        }
    }

    /// A repository, which need not exist.
    ///
    /// # Errors
    /// The configuration forbids it, or a file of its host cannot be read.
    pub fn repository(&self, name: &RepositoryName) -> Result<Repository<'_>> {
        let places = self.options.configuration.places(name)?;
        for endpoint in places.reads.iter().chain([&places.registry]) {
            self.served.add(name, endpoint);
        }
        Ok(Repository::new(self, name.clone(), places))
    }

    /// Whether the registry at `host` accepts a credential.
    ///
    /// # Errors
    /// It does not, or is no registry, or cannot be reached.
    pub fn check(&self, host: &str, credential: &Credential) -> Result<()> {
        let name = RepositoryName::new(host, "");
        let endpoint = self.options.configuration.places(&name)?.registry;
        let url = self.url(&endpoint, "/v2/")?;
        // Of its own: what others asked for anonymously says nothing about this credential.
        let slot = Slot::default();
        let given = || Ok(Some(credential.clone()));
        let sent = self.send_as(
            &endpoint,
            &Access::Login,
            &slot,
            &given,
            &Request::new(&url),
        )?;
        let cause = match sent {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(mut response) => Complaint::read(&mut response).cause(&response),
            Err(cause) => cause,
        };
        let what = Printable::new(host).to_string();
        Err(Error::of_cause(what, host, url.as_str(), cause))
    }

    /// Sends a request to the place that serves a repository, with the access that it needs: without credentials first, with what
    /// the server asks for then, once. A request for another host goes there without credentials.
    ///
    /// # Errors
    /// The inner failure is that of this one try. A server that still does not let the client in is one ([`Cause::Refused`]); any
    /// other status is an answer.
    pub(crate) fn send(
        &self,
        name: &RepositoryName,
        endpoint: &Endpoint,
        access: &Access,
        request: &Request<'_>,
    ) -> Result<Result<Response, Cause>> {
        if !connections::is_at(request.url, endpoint) {
            let client = self
                .connections
                .elsewhere(&self.options.http, endpoint, request.url);
            return Ok(client.send(request)?);
        }
        let slot = self.slots.get(endpoint, access);
        let credential = || self.credential(name, endpoint, access);
        self.send_as(endpoint, access, &slot, &credential, request)
    }

    fn send_as(
        &self,
        endpoint: &Endpoint,
        access: &Access,
        slot: &Slot,
        credential: &dyn Fn() -> Result<Option<Credential>>,
        request: &Request<'_>,
    ) -> Result<Result<Response, Cause>> {
        let http = &self.options.http;
        let client = |url: &Url| self.connections.elsewhere(http, endpoint, url);
        let mut asker = Asker {
            endpoint,
            url: request.url,
            access,
            credential,
            client: &client,
            note: &|text| self.warn_once(text),
        };
        let used = match slot.current(&asker)? {
            Ok(used) => used,
            Err(cause) => return Ok(Err(cause)),
        };
        let mut response = match self.exchange(endpoint, request, used.as_ref())? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause)),
        };
        if response.status() != 401 {
            return Ok(Ok(response));
        }
        let url: Url = response
            .url()
            .parse()
            .unwrap_or_else(|_| request.url.clone());
        if !connections::is_at(&url, endpoint) {
            // Another server, to which the registry sent us: it does not decide where credentials go.
            return Ok(Ok(response));
        }
        asker.url = &url;
        let challenges = Challenge::all(response.headers());
        if challenges.is_empty() && used.is_none() {
            let said = Complaint::read(&mut response).text;
            return Ok(Err(Refusal::Denied(said).into()));
        }
        drop(response);
        let again = match slot.answer(&asker, &Challenged { challenges, used })? {
            Ok(again) => again,
            Err(cause) => return Ok(Err(cause)),
        };
        let mut response = match self.exchange(endpoint, request, Some(&again))? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause)),
        };
        if response.status() != 401 {
            return Ok(Ok(response));
        }
        let said = Complaint::read(&mut response).text;
        Ok(Err(slot.refusal(said).into()))
    }

    /// One request and its answer, by the scheme that the server speaks.
    fn exchange(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Result<Response, Cause>> {
        let mut request = request.clone();
        if let Some(authorization) = authorization {
            let value = authorization.value.clone();
            request.headers.insert(header::AUTHORIZATION, value);
        }
        self.connections
            .send(&self.options.http, endpoint, &request)
    }

    /// The URL of something at an endpoint, by its path from the root.
    pub(crate) fn url(&self, endpoint: &Endpoint, path: &str) -> Result<Url> {
        Ok(self.connections.url(endpoint, path)?)
    }

    /// Credentials are those of the name that the user used, for the registry itself, and those of its own name for any other place.
    fn credential(
        &self,
        name: &RepositoryName,
        endpoint: &Endpoint,
        access: &Access,
    ) -> Result<Option<Credential>> {
        let other;
        let name = match endpoint.host == contacted(name.host()) {
            true => name,
            false => {
                other = RepositoryName::new(&endpoint.host, &endpoint.path);
                &other
            }
        };
        match access.writes() {
            true => self.options.credentials.find_for_push(name),
            false => self.options.credentials.find(name),
        }
    }

    pub(crate) fn note(&self, text: &str) {
        self.progress.event(Event::Note { text });
    }

    /// A warning that is worth reading once.
    pub(crate) fn warn_once(&self, text: &str) {
        if self.is_new(text) {
            self.progress.event(Event::Warning { text });
        }
    }

    /// Has a place asked after all others from now on.
    pub(crate) fn note_failure(&self, endpoint: &Endpoint) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.insert((endpoint.host.clone(), endpoint.path.clone()));
    }

    /// Some places, those that failed before last.
    pub(crate) fn in_order<'e>(
        &self,
        endpoints: impl IntoIterator<Item = &'e Endpoint>,
    ) -> Vec<&'e Endpoint> {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<&Endpoint> = endpoints.into_iter().collect();
        all.sort_by_key(|e| down.contains(&(e.host.clone(), e.path.clone())));
        all
    }

    fn is_new(&self, key: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(key.to_owned())
    }
}

#[cfg(test)]
mod tests;
