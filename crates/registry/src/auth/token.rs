//! Tokens: how they are asked for, and what a token server answers.
//!
//! See <https://distribution.github.io/distribution/spec/auth/token/> and <https://distribution.github.io/distribution/spec/auth/oauth/>.

use std::time::{Duration, Instant};

use box_transfer::header::{self, HeaderValue};
use box_transfer::{Cause, Client, Content, Method, Printable, Refusal, Request, Response, Url};
use serde::Deserialize;
use serde_json::Value;

use super::{basic, user_of};
use crate::complaint::{Complaint, small};
use crate::{Credential, Result};

/// The longest answer of a token server, in bytes.
const LONGEST: u64 = 256 << 10;

/// How long a token is good that does not say so, by the specification.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// The longest time that a token is kept.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// What the token server sees as the program that asks.
const CLIENT: &str = "box";

/// What is asked of a token server.
pub(super) struct Wish<'w> {
    pub(super) realm: &'w Url,
    pub(super) service: Option<&'w str>,
    pub(super) scopes: &'w [String],
}

/// A token for a registry.
pub(super) struct Token {
    pub(super) value: HeaderValue,
    pub(super) expires: Instant,
}

/// Asks a token server for a token.
pub(super) fn fetch(
    client: &Client,
    wish: &Wish<'_>,
    credential: Option<&Credential>,
) -> Result<Result<Token, Cause>> {
    let asked = Instant::now();
    let mut sent = match credential {
        Some(Credential::IdentityToken(token)) => {
            let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
            post(client, wish, &grant)?
        }
        other => get(client, wish, other)?,
    };
    if let (Some(Credential::Password { user, password }), Ok(response)) = (credential, &sent)
        && matches!(response.status().as_u16(), 404 | 405 | 501)
    {
        let grant = [
            ("grant_type", "password"),
            ("username", user.as_str()),
            ("password", password.as_str()),
            ("access_type", "online"),
        ];
        sent = post(client, wish, &grant)?;
    }
    let read = sent.and_then(|response| read(response, asked, credential));
    Ok(read.map_err(|cause| named(wish.realm, cause)))
}

fn get(
    client: &Client,
    wish: &Wish<'_>,
    credential: Option<&Credential>,
) -> Result<Result<Response, Cause>> {
    let mut url = wish.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(user) = credential.and_then(user_of) {
            query.append_pair("account", user);
        }
        if let Some(service) = wish.service {
            query.append_pair("service", service);
        }
        for scope in wish.scopes {
            query.append_pair("scope", scope);
        }
        if credential.is_some() {
            query.append_pair("client_id", CLIENT);
        }
    }
    if url.query() == Some("") {
        url.set_query(None);
    }
    let mut request = Request::new(&url);
    if let Some(Credential::Password { user, password }) = credential {
        let Ok(mut value) = HeaderValue::from_str(&basic(user, password)) else {
            return Ok(Err(Refusal::Credentials.into()));
        };
        value.set_sensitive(true);
        request.headers.insert(header::AUTHORIZATION, value);
    }
    Ok(client.send(&request)?)
}

fn post(
    client: &Client,
    wish: &Wish<'_>,
    grant: &[(&str, &str)],
) -> Result<Result<Response, Cause>> {
    // A URL's query has the form of an HTML form, and the library that builds it is there.
    let mut form = wish.realm.clone();
    form.set_query(None);
    {
        let mut fields = form.query_pairs_mut();
        fields.extend_pairs(grant);
        fields.append_pair("client_id", CLIENT);
        if let Some(service) = wish.service {
            fields.append_pair("service", service);
        }
        if !wish.scopes.is_empty() {
            fields.append_pair("scope", &wish.scopes.join(" "));
        }
    }
    let body = form.query().unwrap_or_default();
    let mut request = Request {
        method: Method::POST,
        content: Some(Content::Bytes(body.as_bytes())),
        ..Request::new(wish.realm)
    };
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers.insert(header::CONTENT_TYPE, kind);
    Ok(client.send(&request)?)
}

/// What a token server answers. Which fields it has depends on its age.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Value,
}

fn read(
    mut response: Response,
    asked: Instant,
    credential: Option<&Credential>,
) -> Result<Token, Cause> {
    let status = response.status().as_u16();
    if status != 200 {
        let complaint = Complaint::read(&mut response);
        return Err(match (status, credential) {
            (401 | 403, None) => Refusal::Anonymous.into(),
            (401, Some(_)) | (400, Some(Credential::IdentityToken(_))) => {
                Refusal::Credentials.into()
            }
            (403, Some(_)) => Refusal::Denied(complaint.text).into(),
            _ => complaint.cause(&response),
        });
    }
    let bytes = small(&mut response, LONGEST)?;
    parse(&bytes, asked)
}

/// Reads the answer to a request that was sent at `asked`. The server's own clock does not matter.
fn parse(bytes: &[u8], asked: Instant) -> Result<Token, Cause> {
    let malformed = |why: &str| Cause::Malformed {
        what: "token",
        why: why.to_owned(),
    };
    let answer: Answer = serde_json::from_slice(bytes)
        .map_err(|_| malformed("it is not what a token server answers"))?;
    let given = [answer.token, answer.access_token].into_iter().flatten();
    let token = given
        .into_iter()
        .find(|token| !token.is_empty())
        .ok_or_else(|| malformed("the answer has none"))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| malformed("it has characters that no token has"))?;
    value.set_sensitive(true);
    let seconds = match &answer.expires_in {
        Value::Number(number) => number.as_f64().map(|s| s as u64),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let life = match seconds {
        None | Some(0) => DEFAULT_LIFE,
        Some(seconds) => Duration::from_secs(seconds.min(LONGEST_LIFE)),
    };
    Ok(Token {
        value,
        expires: asked + life,
    })
}

/// A failure with the name of the token server, which the caller does not know.
fn named(realm: &Url, cause: Cause) -> Cause {
    let host = realm.host_str().unwrap_or_default();
    match cause {
        Cause::Refused(_) => cause,
        Cause::Status {
            status,
            reason,
            said,
            retry_after,
        } => {
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            Cause::Status {
                status,
                reason,
                said: Some(Printable::new(&format!("its token server {host}{said}"))),
                retry_after,
            }
        }
        Cause::Absent => Cause::Protocol(format!("the token server {host} is not there")),
        transient if transient.is_transient() => transient,
        other => Cause::Protocol(format!("the token server {host}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(json: &str) -> Result<(String, u64), String> {
        let asked = Instant::now();
        let token = parse(json.as_bytes(), asked).map_err(|cause| cause.to_string())?;
        assert!(token.value.is_sensitive());
        let life = token.expires.duration_since(asked).as_secs();
        Ok((token.value.to_str().unwrap().to_owned(), life))
    }

    #[test]
    fn either_name_and_any_lifetime_is_accepted() {
        for (json, token, life) in [
            (
                r#"{"token":"a","expires_in":300,"issued_at":"2001-01-01T00:00:00Z"}"#,
                "Bearer a",
                300,
            ),
            (r#"{"access_token":"b"}"#, "Bearer b", 60),
            (
                r#"{"token":"","access_token":"b","expires_in":5}"#,
                "Bearer b",
                5,
            ),
            (
                r#"{"token":"a","access_token":"b","expires_in":0}"#,
                "Bearer a",
                60,
            ),
            (
                r#"{"token":"a","access_token":null,"expires_in":"3600"}"#,
                "Bearer a",
                3600,
            ),
            (r#"{"token":"a","expires_in":null}"#, "Bearer a", 60),
            (r#"{"token":"a","expires_in":-1}"#, "Bearer a", 60),
            (r#"{"token":"a","expires_in":1e300}"#, "Bearer a", 86400),
            (r#"{"token":"a","expires_in":299.5}"#, "Bearer a", 299),
        ] {
            assert_eq!(parsed(json).unwrap(), (token.to_owned(), life), "{json}");
        }
    }

    #[test]
    fn an_answer_without_a_token_is_refused() {
        for json in [
            "{}",
            "[]",
            "<html>",
            "",
            r#"{"token":"a\nb"}"#,
            r#"{"token":7}"#,
            r#"{"Token":"x"}"#,
        ] {
            assert!(
                parsed(json).unwrap_err().starts_with("malformed token"),
                "{json}"
            );
        }
    }
}
