//! Redirections (RFC 9110, section 15.4), as far as they are followed.

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};

use crate::attempt::Cause;
use crate::location::shown;
use crate::printable::Printable;

/// Where an answer sends the client.
pub(super) struct Redirection {
    /// The next URL. Credentials of the first one stay in it within the same origin only.
    pub to: Url,
    /// Whether scheme, host and port are the same.
    pub same_origin: bool,
}

/// The redirection in an answer to a request for `url`, checked; `None` where it is an answer in itself.
pub(super) fn of(
    url: &Url,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Redirection>, Cause> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = headers
        .get(header::LOCATION)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let invalid = || Cause::Redirect(Printable::from_bytes(location));
    let location_text = std::str::from_utf8(location).map_err(|_| invalid())?;
    let mut to = url.join(location_text).map_err(|_| invalid())?;
    match (url.scheme(), to.scheme()) {
        ("https", "http") => return Err(Cause::Downgrade(shown(&to))),
        (_, "http" | "https") => {}
        _ => return Err(invalid()),
    }
    // Only the user gives credentials, and each for one host.
    let same_origin = url.origin() == to.origin();
    let (user, password) = match same_origin {
        true => (url.username(), url.password()),
        false => ("", None),
    };
    to.set_username(user).map_err(|()| invalid())?;
    to.set_password(password).map_err(|()| invalid())?;
    to.set_fragment(None);
    Ok(Some(Redirection { to, same_origin }))
}
