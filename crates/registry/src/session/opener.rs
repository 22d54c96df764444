//! Opening the URLs of blobs: those of known repositories with the access that they need.

use std::sync::{Mutex, PoisonError};

use box_transfer::{Body, Cause, Open, Refusal, Request, Resume, Url};

use super::{Registry, connections};
use crate::auth::Access;
use crate::complaint::Complaint;
use crate::endpoint::Endpoint;
use crate::{Error, RepositoryName};

/// The places that serve the repositories that were asked for.
#[derive(Default)]
pub(super) struct Served(Mutex<Vec<(RepositoryName, Endpoint)>>);

impl Served {
    pub(super) fn add(&self, name: &RepositoryName, endpoint: &Endpoint) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(n, e): &(RepositoryName, Endpoint)| {
            n == name && e.host == endpoint.host && e.path == endpoint.path
        };
        if !all.iter().any(same) {
            all.push((name.clone(), endpoint.clone()));
        }
    }

    /// Whose blob is at a URL.
    fn of(&self, url: &Url) -> Option<(RepositoryName, Endpoint)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |endpoint: &Endpoint| {
            let path = url.path().strip_prefix("/v2/");
            let path = path.and_then(|path| path.strip_prefix(endpoint.path.as_str()));
            path.is_some_and(|rest| rest.starts_with("/blobs/"))
                && connections::is_at(url, endpoint)
        };
        all.iter().find(|(_, endpoint)| serves(endpoint)).cloned()
    }
}

impl Open for Registry<'_> {
    fn open(
        &self,
        url: &Url,
        resume: Option<&Resume>,
    ) -> box_transfer::Result<Result<Body, Cause>> {
        let request = Request {
            resume,
            ..Request::new(url)
        };
        let sent = match self.served.of(url) {
            Some((name, endpoint)) => self.send(&name, &endpoint, &Access::Pull, &request),
            None => {
                let client = self.connections.anywhere(&self.options.http);
                client.send(&request).map_err(Error::from)
            }
        };
        let mut response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => return Ok(Err(cause)),
            Err(Error::Transfer(error)) => return Err(error),
            Err(other) => return Ok(Err(Cause::Protocol(other.to_string()))),
        };
        if matches!(response.status().as_u16(), 200 | 206 | 416) {
            return Ok(Body::of_answer(response, resume));
        }
        let complaint = Complaint::read(&mut response);
        Ok(Err(match response.status().as_u16() {
            401 => Refusal::Denied(complaint.text).into(),
            _ => complaint.cause(&response),
        }))
    }
}
