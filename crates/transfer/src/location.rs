//! Where one file is to be had.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;

use crate::error::Error;
use crate::printable::Printable;

/// A URL, or a local file.
///
/// Credentials in the URL (`https://user:password@host/`) are used and never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// To be requested over HTTP or HTTPS.
    Http(Url),
    /// To be read directly.
    File(PathBuf),
}

impl FromStr for Location {
    type Err = Error;

    /// Parses an `http://`, `https://` or `file://` URL, or an absolute path.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Url {
            url: Printable::new(text),
            why: why.to_owned(),
        };
        if text.starts_with('/') {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let mut url = Url::parse(text).map_err(|e| refuse(&e.to_string()))?;
        url.set_fragment(None);
        match url.scheme() {
            "http" | "https" => Ok(Self::Http(url)),
            "file" => url
                .to_file_path()
                .map(Self::File)
                .map_err(|()| refuse("a file URL is file:// and an absolute path")),
            other => Err(refuse(&format!(
                "the scheme is {other}, expected http, https or file"
            ))),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&shown(url)),
            Self::File(path) => show_file(path, f),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL as it may be shown and stored: without user name and password. Everything else that could disturb a terminal
/// is percent-encoded in a parsed URL.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Fails only where a URL has no host, and there can be no user in it then.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn show_file(path: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "file://{}", Printable::new(&path.to_string_lossy()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_absolute_paths_are_locations() {
        for (text, shown) in [
            ("http://[::1]:80/x", "http://[::1]/x"),
            ("https://m.example/a?b#c", "https://m.example/a?b"),
            ("file:///srv/a%20b", "file:///srv/a b"),
            ("/srv/m", "file:///srv/m"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let location: Location = "https://me:secret@m.example/x".parse().unwrap();
        assert_eq!(
            format!("{location} {location:?}").matches("secret").count(),
            0
        );
    }
}
