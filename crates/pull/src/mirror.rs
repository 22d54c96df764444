//! Places that hold the same files under the same paths.

mod listing;

use std::fmt;
use std::str::FromStr;

use box_transfer::{Attempts, Cause, Fetcher, Location};

use crate::error::{Error, Result};
use crate::resolved::Sidecar;

/// Largest listing of a directory that is read, in bytes.
const LISTING_LIMIT: u64 = 2 << 20;

/// The root of a tree of files: an `http://` or `https://` URL, or a directory (`file://`, or an absolute path).
///
/// Credentials in the URL (`https://user:password@host/`) are used and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Mirror {
    /// A URL without query, whose path ends in a slash; or a directory.
    root: Location,
}

impl Mirror {
    /// The file or directory at `path`, a relative path of plain names separated by slashes.
    ///
    /// The caller has checked the names: none is `..`, none contains a character that is special in a URL.
    pub fn at(&self, path: &str) -> Location {
        match &self.root {
            Location::Http(url) => {
                let mut at = url.clone();
                at.set_path(&format!("{}{path}", url.path()));
                Location::Http(at)
            }
            Location::File(dir) => Location::File(dir.join(path)),
        }
    }
}

impl FromStr for Mirror {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut root = Location::from_str(text)?;
        if let Location::Http(url) = &mut root {
            url.set_query(None);
            if !url.path().ends_with('/') {
                url.set_path(&format!("{}/", url.path()));
            }
        }
        Ok(Self { root })
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.root.to_string();
        f.write_str(match self.root {
            Location::Http(_) => shown.trim_end_matches('/'),
            Location::File(_) => &shown,
        })
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Mirrors that can be asked, one after the other.
pub(crate) struct Mirrors<'a> {
    mirrors: &'a [Mirror],
    pub fetcher: Fetcher<'a>,
}

impl<'a> Mirrors<'a> {
    pub fn new(mirrors: &'a [Mirror], fetcher: Fetcher<'a>) -> Self {
        Self { mirrors, fetcher }
    }

    /// Where `path` is on each mirror.
    pub fn locations(&self, path: &str) -> Vec<Location> {
        self.mirrors.iter().map(|mirror| mirror.at(path)).collect()
    }

    /// The file `path` as a sidecar.
    pub fn sidecar(&self, path: String) -> Sidecar {
        Sidecar {
            locations: self.locations(&path),
            name: path,
        }
    }

    /// A small document of at most `limit` bytes, and the URL it came from; see [`Fetcher::document`].
    pub fn document<T>(
        &self,
        path: &str,
        limit: u64,
        read: impl Fn(&[u8]) -> Result<T, Cause>,
    ) -> Result<Result<(T, String), Attempts>> {
        Ok(self.fetcher.document(&self.locations(path), limit, read)?)
    }

    /// Names in the directory `path` (empty, or with a slash at its end) of the first mirror that lists it. There are no
    /// retries, as a listing only helps to word a message or to fill a list.
    pub fn listing(&self, path: &str) -> Result<Option<Vec<String>>> {
        for location in self.locations(path) {
            let names = match &location {
                Location::File(dir) => listing::of_directory(dir).ok(),
                Location::Http(_) => match self.fetcher.small(&location, LISTING_LIMIT)? {
                    Ok((page, _)) => Some(listing::of_page(&String::from_utf8_lossy(&page))),
                    Err(_) => None,
                },
            };
            if let Some(names) = names.filter(|names| !names.is_empty()) {
                return Ok(Some(names));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_below_the_mirror() {
        let at = |mirror: &str| mirror.parse::<Mirror>().unwrap().at("v3.20/x.tar.gz");
        for mirror in ["http://m.example/alpine", "http://m.example/alpine/?x=1#y"] {
            assert_eq!(
                at(mirror).to_string(),
                "http://m.example/alpine/v3.20/x.tar.gz"
            );
        }
        assert_eq!(
            at("file:///srv/a%20b"),
            Location::File("/srv/a b/v3.20/x.tar.gz".into())
        );
        assert_eq!(at("/srv/m/").to_string(), "file:///srv/m/v3.20/x.tar.gz");
        assert_eq!(
            at("http://[::1]:80/").to_string(),
            "http://[::1]/v3.20/x.tar.gz"
        );
    }

    #[test]
    fn credentials_are_never_shown() {
        let mirror: Mirror = "https://me:secret@m.example/alpine".parse().unwrap();
        assert_eq!(mirror.to_string(), "https://m.example/alpine");
        assert_eq!(
            format!("{:?}", mirror.at("x")),
            "https://m.example/alpine/x"
        );
    }

    #[test]
    fn other_schemes_and_relative_paths_are_refused() {
        for (text, why) in [
            ("ftp://m.example/", "the scheme is ftp"),
            ("mirror/alpine", "relative URL without a base"),
            ("file://host/x", "absolute path"),
            ("http://", "empty host"),
        ] {
            let error = text.parse::<Mirror>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
