//! What is known for one kind of access to one repository of one host: how it is entered, and the token that is good for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use box_transfer::header::HeaderValue;
use box_transfer::{Cause, Client, Refusal, Url};

use super::realm::{Trust, trust};
use super::token::{self, Wish};
use super::{Access, Challenge, Method, basic, method};
use crate::endpoint::Endpoint;
use crate::{Credential, Result};

/// One slot for each host, repository and access.
#[derive(Default)]
pub(crate) struct Slots(Mutex<HashMap<(String, String, Access), Arc<Slot>>>);

impl Slots {
    /// The slot for access to the repository that an endpoint serves.
    pub(crate) fn get(&self, endpoint: &Endpoint, access: &Access) -> Arc<Slot> {
        let key = (endpoint.host.clone(), endpoint.path.clone(), access.clone());
        // Nothing panics while it holds the lock, and a map is whole at any time.
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(key).or_default().clone()
    }
}

/// A value for the `Authorization` header.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) value: HeaderValue,
    expires: Option<Instant>,
    serial: u64,
}

/// The lock is held while a token is fetched, so that threads that need the same one wait for it.
#[derive(Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    /// Looked up once; outer `None`: not yet.
    credential: Option<Option<Credential>>,
    method: Option<Method>,
    current: Option<Authorization>,
    serial: u64,
}

/// What is needed to answer a challenge.
pub(crate) struct Asker<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// Where the registry answered.
    pub(crate) url: &'a Url,
    pub(crate) access: &'a Access,
    /// Looks credentials up.
    pub(crate) credential: &'a dyn Fn() -> Result<Option<Credential>>,
    /// The client for a token server.
    pub(crate) client: &'a dyn Fn(&Url) -> Arc<Client>,
    /// Receives one line that is worth knowing.
    pub(crate) note: &'a dyn Fn(&str),
}

/// How the server answered the last request.
pub(crate) struct Challenged {
    pub(crate) challenges: Vec<Challenge>,
    /// What was sent with the request.
    pub(crate) used: Option<Authorization>,
}

impl Slot {
    /// What to send with the next request; `None` where the server has not asked for anything yet.
    pub(crate) fn current(
        &self,
        asker: &Asker<'_>,
    ) -> Result<Result<Option<Authorization>, Cause>> {
        let mut state = self.lock();
        let expired = |a: &Authorization| a.expires.is_some_and(|e| e <= Instant::now());
        match &state.current {
            Some(current) if expired(current) => state.renew(asker).map(|r| r.map(Some)),
            current => Ok(Ok(current.clone())),
        }
    }

    /// What to send after the server refused a request.
    pub(crate) fn answer(
        &self,
        asker: &Asker<'_>,
        challenged: &Challenged,
    ) -> Result<Result<Authorization, Cause>> {
        let mut state = self.lock();
        let used = challenged.used.as_ref().map(|a| a.serial);
        if let Some(current) = &state.current
            && used != Some(current.serial)
        {
            // Another thread has got a new one meanwhile.
            return Ok(Ok(current.clone()));
        }
        let method = Method::choose(&challenged.challenges, asker.url);
        // The password that is refused once is refused again.
        let refused =
            used.is_some() && method == Some(Method::Basic) && state.method == Some(Method::Basic);
        state.current = None;
        state.method = method;
        if refused {
            return Ok(Err(Refusal::Credentials.into()));
        }
        state.renew(asker)
    }

    /// Why the server refuses a request even with what it wanted.
    pub(crate) fn refusal(&self, said: Option<box_transfer::Printable>) -> Refusal {
        let state = self.lock();
        match (&state.credential, &state.method) {
            (Some(Some(_)), Some(Method::Bearer { .. })) => Refusal::Denied(said),
            (Some(Some(_)), _) => Refusal::Credentials,
            (_, Some(Method::Bearer { .. })) => Refusal::Hidden,
            _ => Refusal::Anonymous,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn renew(&mut self, asker: &Asker<'_>) -> Result<Result<Authorization, Cause>> {
        let credential = match &self.credential {
            Some(known) => known.clone(),
            None => (asker.credential)()?,
        };
        self.credential = Some(credential.clone());
        let (value, expires) = match (&self.method, credential) {
            (Some(Method::Basic), Some(Credential::Password { user, password })) => {
                let Ok(mut value) = HeaderValue::from_str(&basic(&user, &password)) else {
                    return Ok(Err(Refusal::Credentials.into()));
                };
                value.set_sensitive(true);
                (value, None)
            }
            (Some(Method::Bearer { .. }), Some(Credential::RegistryToken(token))) => {
                let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) else {
                    return Ok(Err(Refusal::Credentials.into()));
                };
                value.set_sensitive(true);
                (value, None)
            }
            (Some(bearer @ Method::Bearer { .. }), credential) => {
                match fetch(bearer, credential.as_ref(), asker)? {
                    Ok(token) => (token.value, Some(token.expires)),
                    Err(cause) => return Ok(Err(cause)),
                }
            }
            _ => return Ok(Err(Refusal::Anonymous.into())),
        };
        self.serial += 1;
        let current = Authorization {
            value,
            expires,
            serial: self.serial,
        };
        self.current = Some(current.clone());
        Ok(Ok(current))
    }
}

fn fetch(
    method: &Method,
    credential: Option<&Credential>,
    asker: &Asker<'_>,
) -> Result<Result<token::Token, Cause>> {
    let Method::Bearer {
        realm,
        service,
        scopes,
    } = method
    else {
        return Ok(Err(Refusal::Anonymous.into()));
    };
    let host = realm.host_str().unwrap_or_default();
    let credential = match trust(realm, asker.endpoint, asker.url) {
        Trust::Credentials => credential,
        Trust::Request => {
            if credential.is_some() {
                (asker.note)(&format!(
                    "{}: its token server {realm} gets no credentials: anyone on the way, or on a private network, could have them",
                    asker.endpoint.host
                ));
            }
            None
        }
        Trust::Nothing => {
            return Ok(Err(Cause::Protocol(format!(
                "its token server {host} is an address of this machine or of its own network"
            ))));
        }
    };
    let scopes = method::merged(scopes, asker.access.scopes(&asker.endpoint.path));
    let wish = Wish {
        realm,
        service: service.as_deref(),
        scopes: &scopes,
    };
    token::fetch(&(asker.client)(realm), &wish, credential)
}
