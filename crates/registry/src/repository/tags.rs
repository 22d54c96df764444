//! Lists that come in pages: the tags of a repository.

use std::collections::HashSet;

use box_transfer::header::{self, HeaderMap};
use box_transfer::{Cause, Request, Url};
use serde::Deserialize;

use super::Repository;
use crate::Result;
use crate::auth::Access;
use crate::complaint::{Complaint, small};
use crate::document::LARGEST;
use crate::endpoint::Endpoint;

/// The most pages of a list, and the most items in all of them.
const MOST_PAGES: usize = 10_000;
const MOST_ITEMS: usize = 1_000_000;

/// Takes the bytes and the headers of a page, and tells how many items there are now.
type ReadPage<'a> = dyn FnMut(&[u8], &HeaderMap) -> Result<usize, Cause> + 'a;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Repository<'_> {
    /// All tags, in the order of the registry, each once.
    pub fn tags(&self) -> Result<Vec<String>> {
        let what = format!("the tags of {}", self.name);
        self.try_each(&what, [&self.places.registry], |endpoint| {
            let first = self.url(endpoint, "tags/list?n=1000")?;
            match self.tags_from(endpoint, first)? {
                // So many at once are too many for some.
                Err(Cause::Status { status: 400, .. }) => {
                    self.tags_from(endpoint, self.url(endpoint, "tags/list")?)
                }
                got => Ok(got),
            }
        })
    }

    fn tags_from(&self, endpoint: &Endpoint, first: Url) -> Result<Result<Vec<String>, Cause>> {
        let mut seen = HashSet::new();
        let mut tags = Vec::new();
        let walked = self.pages(endpoint, first, None, &mut |bytes, _| {
            let page: Page = serde_json::from_slice(bytes).map_err(|e| Cause::Malformed {
                what: "list of tags",
                why: e.to_string(),
            })?;
            for tag in page.tags.unwrap_or_default() {
                if seen.insert(tag.clone()) {
                    tags.push(tag);
                }
            }
            Ok(tags.len())
        })?;
        Ok(walked.map(|()| tags))
    }

    /// Reads one page after the other, each of which `read` takes with its headers and tells how many items there are now. The first
    /// page may be retried by the caller; a failure in the middle ends the list.
    pub(super) fn pages(
        &self,
        endpoint: &Endpoint,
        first: Url,
        accept: Option<&'static str>,
        read: &mut ReadPage<'_>,
    ) -> Result<Result<(), Cause>> {
        let (mut url, mut visited) = (first, HashSet::new());
        loop {
            if !visited.insert(url.clone()) || visited.len() > MOST_PAGES {
                return Ok(Err(Cause::Protocol("its pages never end".to_owned())));
            }
            let mut request = Request::new(&url);
            if let Some(accept) = accept {
                let accept = header::HeaderValue::from_static(accept);
                request.headers.insert(header::ACCEPT, accept);
            }
            let mut response = match self.send(endpoint, &Access::Pull, &request)? {
                Ok(response) => response,
                Err(cause) => return Ok(Err(cause)),
            };
            if response.status() != 200 {
                return Ok(Err(Complaint::read(&mut response).cause(&response)));
            }
            let next = next(&url, response.headers());
            let items =
                small(&mut response, LARGEST).and_then(|bytes| read(&bytes, response.headers()));
            match items {
                Ok(items) if items > MOST_ITEMS => {
                    return Ok(Err(Cause::Protocol("its pages never end".to_owned())));
                }
                Ok(_) => {}
                Err(cause) => return Ok(Err(cause)),
            }
            url = match next {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(Ok(())),
                Err(cause) => return Ok(Err(cause)),
            };
        }
    }
}

/// The next page by the `Link` header (RFC 8288), which must be at the same server.
fn next(url: &Url, headers: &HeaderMap) -> Result<Option<Url>, Cause> {
    let lines = headers.get_all(header::LINK).iter();
    let links = lines.filter_map(|line| line.to_str().ok());
    let Some(target) = links.into_iter().find_map(next_target) else {
        return Ok(None);
    };
    let invalid = || Cause::Protocol("its next page has no usable address".to_owned());
    let mut next = url.join(target).map_err(|_| invalid())?;
    // A registry behind a proxy may not know its scheme.
    if next.host_str() == url.host_str() && next.scheme() == "http" && url.scheme() == "https" {
        next.set_scheme("https").map_err(|()| invalid())?;
    }
    match next.origin() == url.origin() {
        true => Ok(Some(next)),
        false => Err(Cause::Protocol(
            "its next page is at another server".to_owned(),
        )),
    }
}

/// The target of the link whose relation is `next`. A target has no `>`, whatever else it has.
fn next_target(line: &str) -> Option<&str> {
    let mut rest = line;
    while let Some(start) = rest.find('<') {
        let (target, after) = rest[start + 1..].split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else {
                return false;
            };
            let mut relations = value.trim().trim_matches('"').split_whitespace();
            name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_of_every_form_are_followed_within_the_server() {
        let url: Url = "https://r.example/v2/a/tags/list?n=2".parse().unwrap();
        for (line, expected) in [
            (
                r#"</v2/a/tags/list?last=b&n=2>; rel="next""#,
                Some("https://r.example/v2/a/tags/list?last=b&n=2"),
            ),
            (
                "<list?last=b>;rel=next",
                Some("https://r.example/v2/a/tags/list?last=b"),
            ),
            (
                "<?last=b,c>; title=\"x\"; REL=\"prev Next\"",
                Some("https://r.example/v2/a/tags/list?last=b,c"),
            ),
            (
                r#"</first>; rel="first", </n>; rel="next""#,
                Some("https://r.example/n"),
            ),
            (
                "<http://r.example/n>; rel=next",
                Some("https://r.example/n"),
            ),
            (
                "<https://r.example:443/n>; rel=next",
                Some("https://r.example/n"),
            ),
            (r#"</n>; rel="prev""#, None),
            ("</n", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::LINK, line.parse().unwrap());
            let next = next(&url, &headers).unwrap();
            assert_eq!(next.as_ref().map(Url::as_str), expected, "{line}");
        }
        for line in [
            "<https://other.example/n>; rel=next",
            "<//other.example/n>; rel=next",
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::LINK, line.parse().unwrap());
            assert!(next(&url, &headers).is_err(), "{line}");
        }
    }
}
