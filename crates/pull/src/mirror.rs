//! Places that hold the same files under the same paths.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;

use crate::error::Error;
use crate::foreign::Foreign;

/// The root of a tree of files: an `http://` or `https://` URL, or a directory (`file://`, or an absolute path).
///
/// Credentials in the URL (`https://user:password@host/`) are used and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Mirror(Base);

#[derive(Clone, PartialEq, Eq)]
enum Base {
    /// With a path that ends in a slash.
    Http(Url),
    Directory(PathBuf),
}

/// Where one file of a mirror is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// To be asked for over HTTP or HTTPS.
    Http(Url),
    /// To be read directly.
    File(PathBuf),
}

impl Mirror {
    /// The file or directory at `path`, a relative path of plain names separated by slashes.
    ///
    /// The caller has checked the names: none is `..`, none holds a character that a URL would read otherwise.
    pub fn at(&self, path: &str) -> Location {
        match &self.0 {
            Base::Http(url) => {
                let mut at = url.clone();
                at.set_path(&format!("{}{path}", url.path()));
                Location::Http(at)
            }
            Base::Directory(dir) => Location::File(dir.join(path)),
        }
    }

    /// Whether reading from it opens no socket.
    pub fn is_local(&self) -> bool {
        matches!(self.0, Base::Directory(_))
    }
}

impl FromStr for Mirror {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self(match Location::from_str(text)? {
            Location::Http(mut url) => {
                url.set_query(None);
                if !url.path().ends_with('/') {
                    url.set_path(&format!("{}/", url.path()));
                }
                Base::Http(url)
            }
            Location::File(dir) => Base::Directory(dir),
        }))
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Url {
            url: Foreign::new(text),
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

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Base::Http(url) => f.write_str(shown(url).trim_end_matches('/')),
            Base::Directory(dir) => show_file(dir, f),
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

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
    write!(f, "file://{}", Foreign::new(&path.to_string_lossy()))
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
