//! The URL of an upload, which the registry may change with every answer.

use box_cache::Digest;
use box_transfer::{Cause, Printable, Url};

/// The next URL by a `Location` header: absolute or relative to the URL that answered, with its query as it is.
pub(super) fn next(base: &Url, location: &[u8]) -> Result<Url, Cause> {
    let invalid = || Cause::Redirect(Printable::from_bytes(location));
    let text = std::str::from_utf8(location).map_err(|_| invalid())?;
    let mut url = base.join(text.trim()).map_err(|_| invalid())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid());
    }
    // A registry behind a proxy may not know that it is spoken to by TLS: its own host keeps the scheme that it was asked by. Bytes
    // for any other host stay encrypted.
    if base.scheme() == "https" && url.scheme() == "http" {
        if base.host_str() != url.host_str() {
            return Err(Cause::Downgrade(Printable::new(url.as_str()).to_string()));
        }
        url.set_scheme("https").map_err(|()| invalid())?;
        if url.port().is_none() {
            url.set_port(base.port()).map_err(|()| invalid())?;
        }
    }
    // Credentials come from the user, never from a server.
    url.set_username("").map_err(|()| invalid())?;
    url.set_password(None).map_err(|()| invalid())?;
    url.set_fragment(None);
    Ok(url)
}

/// The URL that ends an upload: its own, with the digest added to whatever query it has.
pub(super) fn last(url: &Url, digest: &Digest) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut()
        .append_pair("digest", &digest.to_string());
    url
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn locations_are_followed_wherever_they_point() {
        let base: Url = "https://r.example:5000/v2/app/blobs/uploads/"
            .parse()
            .unwrap();
        for (location, url) in [
            ("/v2/app/u/1", "https://r.example:5000/v2/app/u/1"),
            (
                "1?_state=a%2Fb%3D",
                "https://r.example:5000/v2/app/blobs/uploads/1?_state=a%2Fb%3D",
            ),
            ("?x=1", "https://r.example:5000/v2/app/blobs/uploads/?x=1"),
            ("https://s.example/u?sig=a+b", "https://s.example/u?sig=a+b"),
            ("//s.example/u", "https://s.example/u"),
            ("http://r.example/u", "https://r.example:5000/u"),
            ("http://r.example:5000/u", "https://r.example:5000/u"),
            ("https://me:secret@r.example/u#f", "https://r.example/u"),
        ] {
            assert_eq!(next(&base, location.as_bytes()).unwrap().as_str(), url);
        }
        for location in [
            "http://s.example/u",
            "file:///etc/passwd",
            "https://",
            "\u{7f}:",
        ] {
            if let Ok(url) = next(&base, location.as_bytes()) {
                assert_eq!(url.host_str(), Some("r.example"), "{location}");
            }
        }
        assert!(next(&base, b"http://s.example/u").is_err());
        assert!(next(&base, b"file:///etc/passwd").is_err());
        assert!(next(&base, b"/\xff").is_err());
        let base: Url = "http://127.0.0.1:5000/v2/".parse().unwrap();
        let plain = "http://s.example/u";
        assert_eq!(next(&base, plain.as_bytes()).unwrap().as_str(), plain);
    }

    #[test]
    fn the_digest_is_added_to_the_query() {
        let digest = Digest::of(b"");
        let hex = digest.hex();
        for (url, expected) in [
            (
                "https://r.example/u",
                format!("https://r.example/u?digest=sha256%3A{hex}"),
            ),
            (
                "https://r.example/u?",
                format!("https://r.example/u?digest=sha256%3A{hex}"),
            ),
            (
                "https://r.example/u?_state=a%2Fb&c=d+e",
                format!("https://r.example/u?_state=a%2Fb&c=d+e&digest=sha256%3A{hex}"),
            ),
        ] {
            assert_eq!(last(&url.parse().unwrap(), &digest).as_str(), expected);
        }
    }
}
