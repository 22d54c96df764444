//! Serves files and listings of a directory, as a plain web server does.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::{Body, Request, Response};

/// A tree to serve: files with validators and single ranges, directories as a listing of links.
///
/// A text file instead of a directory link (`latest-stable` holding `v3.20`) is followed like that link, since the
/// mirror tree of the tests is a copy without links.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// The tree below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Answers a request for one file or listing.
    pub fn answer(&self, request: &Request) -> Response {
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Response::status(405);
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let Some(path) = self.resolve(path) else {
            return Response::status(404);
        };
        if path.is_dir() {
            return match request.path.ends_with('/') {
                true => listing(&path),
                false => Response::redirect(format!("{}/", request.path)),
            };
        }
        file(&path, request).unwrap_or_else(|_| Response::status(404))
    }

    /// The file that a URL path names, following links flattened to text; `None` if it would leave the tree.
    fn resolve(&self, url_path: &str) -> Option<PathBuf> {
        let mut path = self.root.clone();
        let mut names = Path::new(url_path.trim_start_matches('/'))
            .components()
            .peekable();
        while let Some(component) = names.next() {
            let Component::Normal(name) = component else {
                return None;
            };
            path.push(name);
            if names.peek().is_some() && path.is_file() {
                let target = std::fs::read_to_string(&path).ok()?;
                path.set_file_name(target.trim());
            }
        }
        Some(path)
    }
}

/// A file, or the requested range if it is still valid (RFC 9110, sections 13.1.5 and 14.2).
fn file(path: &Path, request: &Request) -> std::io::Result<Response> {
    let meta = path.metadata()?;
    let size = meta.len();
    let etag = format!("\"{:x}-{:x}\"", meta.mtime(), size);
    let fresh = request.header("if-range").is_none_or(|tag| tag == etag);
    let range = request.header("range").filter(|_| fresh);
    let (status, start) = match range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')) {
        Some(start) => (206, start.parse().unwrap_or(u64::MAX)),
        None => (200, 0),
    };
    if start > 0 && start >= size {
        return Ok(Response::status(416).header("Content-Range", format!("bytes */{size}")));
    }
    let body = Body::File {
        path: path.to_owned(),
        start,
        length: size - start,
    };
    let response = Response::with(status, body)
        .header("ETag", etag)
        .header("Accept-Ranges", "bytes")
        .header("Content-Type", "application/octet-stream");
    Ok(match status {
        206 => response.header(
            "Content-Range",
            format!("bytes {start}-{}/{size}", size - 1),
        ),
        _ => response,
    })
}

/// The links that typical servers list for a directory.
fn listing(dir: &Path) -> Response {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.path().is_dir() {
                true => name + "/",
                false => name,
            }
        })
        .collect();
    names.sort();
    let mut html =
        String::from("<html><head><title>Index</title></head><body><pre><a href=\"../\">../</a>\n");
    for name in names {
        html.push_str(&format!("<a href=\"{name}\">{name}</a>\n"));
    }
    html.push_str("</pre></body></html>\n");
    Response::new(html).header("Content-Type", "text/html")
}
