//! A registry in memory that behaves as the distribution specification says.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::json;

use super::{Image, digest};
use crate::server::{Request, Response};

/// The content of a registry: every repository sees every blob and manifest that was put into it.
#[derive(Default)]
pub struct Store {
    repositories: Mutex<BTreeMap<String, Repository>>,
}

#[derive(Default)]
struct Repository {
    blobs: BTreeMap<String, Vec<u8>>,
    /// By digest: media type and bytes.
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    tags: BTreeMap<String, String>,
    /// Unfinished uploads, with what they have received.
    uploads: BTreeMap<String, Vec<u8>>,
}

/// The answer that serves a document.
pub fn document(media_type: &str, bytes: &[u8]) -> Response {
    Response::new(bytes)
        .header("Content-Type", media_type)
        .header("Docker-Content-Digest", digest(bytes))
}

impl Store {
    /// Puts an image in.
    pub fn put(&self, repository: &str, tag: &str, image: &Image) {
        let mut repositories = self.repositories.lock().expect("no handler panicked");
        let repository = repositories.entry(repository.to_owned()).or_default();
        repository.blobs.extend(image.blobs.clone());
        repository.manifests.extend(image.children.clone());
        let document = (image.media_type.clone(), image.bytes.clone());
        repository.manifests.insert(image.digest(), document);
        repository.tags.insert(tag.to_owned(), image.digest());
    }

    /// The media type and the bytes that a tag or a digest stands for.
    pub fn manifest(&self, repository: &str, tag: &str) -> Option<(String, Vec<u8>)> {
        let repositories = self.repositories.lock().expect("no handler panicked");
        repositories.get(repository)?.manifest(tag)
    }

    /// The bytes of a blob.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let repositories = self.repositories.lock().expect("no handler panicked");
        repositories.get(repository)?.blobs.get(digest).cloned()
    }

    /// What an unfinished upload has received; `session` is the last part of its URL.
    pub fn received(&self, repository: &str, session: &str) -> Option<usize> {
        let repositories = self.repositories.lock().expect("no handler panicked");
        Some(repositories.get(repository)?.uploads.get(session)?.len())
    }

    /// The answer to any request.
    pub fn answer(&self, request: &Request) -> Response {
        let Some(route) = request.route().strip_prefix("/v2/") else {
            return Response::status(404);
        };
        if route.is_empty() {
            return Response::new("{}").header("Content-Type", "application/json");
        }
        let mut repositories = self.repositories.lock().expect("no handler panicked");
        let method = request.method.as_str();
        if let Some((name, id)) = route.split_once("/blobs/uploads/") {
            return match method {
                "POST" => start(&mut repositories, name, request),
                _ => repositories
                    .entry(name.to_owned())
                    .or_default()
                    .upload(name, id, request),
            };
        }
        if let Some((name, tag)) = route.split_once("/manifests/") {
            if method == "PUT" {
                let repository = repositories.entry(name.to_owned()).or_default();
                return repository.put(name, tag, request);
            }
            return match repositories.get(name) {
                None => failure(404, "NAME_UNKNOWN"),
                Some(repository) => match repository.manifest(tag) {
                    None => failure(404, "MANIFEST_UNKNOWN"),
                    Some((kind, bytes)) => document(&kind, &bytes),
                },
            };
        }
        if let Some((name, digest)) = route.split_once("/blobs/") {
            let blob = repositories.get(name).and_then(|r| r.blobs.get(digest));
            return match blob {
                None => failure(404, "BLOB_UNKNOWN"),
                Some(bytes) => ranged(bytes, request).header("Docker-Content-Digest", digest),
            };
        }
        if let Some(name) = route.strip_suffix("/tags/list") {
            return match repositories.get(name) {
                None => failure(404, "NAME_UNKNOWN"),
                Some(repository) => {
                    let tags: Vec<_> = repository.tags.keys().collect();
                    Response::new(json!({"name": name, "tags": tags}).to_string())
                        .header("Content-Type", "application/json")
                }
            };
        }
        failure(404, "UNSUPPORTED")
    }
}

/// An error in the form of the specification.
pub fn failure(status: u16, code: &str) -> Response {
    let body =
        json!({"errors": [{"code": code, "message": format!("said {code}"), "detail": null}]});
    let mut response = Response::status(status).header("Content-Type", "application/json");
    response.body = crate::server::Body::Bytes(body.to_string().into_bytes());
    response
}

/// A blob, or the rest of it from where the client wants it.
fn ranged(bytes: &[u8], request: &Request) -> Response {
    let start = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split('-').next()?.parse::<usize>().ok());
    let response = match start {
        None => Response::new(bytes),
        Some(start) if start >= bytes.len() => {
            return Response::status(416)
                .header("Content-Range", format!("bytes */{}", bytes.len()));
        }
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            let mut response = Response::status(206).header("Content-Range", range);
            response.body = crate::server::Body::Bytes(bytes[start..].to_vec());
            response
        }
    };
    response.header("Content-Type", "application/octet-stream")
}

/// Begins an upload, or mounts a blob of another repository.
fn start(
    repositories: &mut BTreeMap<String, Repository>,
    name: &str,
    request: &Request,
) -> Response {
    if let (Some(wanted), Some(from)) = (request.parameter("mount"), request.parameter("from")) {
        let blob = repositories
            .get(&from)
            .and_then(|r| r.blobs.get(&wanted))
            .cloned();
        if let Some(blob) = blob {
            let repository = repositories.entry(name.to_owned()).or_default();
            repository.blobs.insert(wanted.clone(), blob);
            return created(&format!("/v2/{name}/blobs/{wanted}"), &wanted);
        }
    }
    let repository = repositories.entry(name.to_owned()).or_default();
    let id = format!("session-{}", repository.uploads.len() + 1);
    repository.uploads.insert(id.clone(), Vec::new());
    accepted(name, &id, 0)
}

fn created(location: &str, digest: &str) -> Response {
    let mut response = Response::status(201)
        .header("Location", location)
        .header("Docker-Content-Digest", digest);
    response.body = crate::server::Body::Bytes(Vec::new());
    response
}

fn accepted(name: &str, id: &str, length: usize) -> Response {
    let mut response = Response::status(202)
        .header(
            "Location",
            format!("/v2/{name}/blobs/uploads/{id}?state={length}"),
        )
        .header("Docker-Upload-UUID", id)
        .header("Range", format!("0-{}", length.saturating_sub(1)));
    response.body = crate::server::Body::Bytes(Vec::new());
    response
}

impl Repository {
    fn manifest(&self, tag: &str) -> Option<(String, Vec<u8>)> {
        let digest = self.tags.get(tag).map_or(tag, String::as_str);
        self.manifests.get(digest).cloned()
    }

    /// Takes a manifest whose blobs or children are there.
    fn put(&mut self, name: &str, tag: &str, request: &Request) -> Response {
        let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(&request.body) else {
            return failure(400, "MANIFEST_INVALID");
        };
        let list = |member: &str| parsed[member].as_array().cloned().unwrap_or_default();
        let config = Some(parsed["config"].clone()).filter(|config| !config.is_null());
        let mut blobs = list("layers").into_iter().chain(config);
        let has =
            |entry: &serde_json::Value| entry["digest"].as_str().unwrap_or_default().to_owned();
        if blobs.any(|blob| !self.blobs.contains_key(&has(&blob)) && blob["urls"].is_null()) {
            return failure(400, "MANIFEST_BLOB_UNKNOWN");
        }
        if list("manifests")
            .iter()
            .any(|child| !self.manifests.contains_key(&has(child)))
        {
            return failure(400, "MANIFEST_BLOB_UNKNOWN");
        }
        let own = digest(&request.body);
        if tag.starts_with("sha256:") && tag != own {
            return failure(400, "DIGEST_INVALID");
        }
        let kind = request
            .header("content-type")
            .unwrap_or_default()
            .to_owned();
        self.manifests
            .insert(own.clone(), (kind, request.body.to_vec()));
        if !tag.starts_with("sha256:") {
            self.tags.insert(tag.to_owned(), own.clone());
        }
        created(&format!("/v2/{name}/manifests/{own}"), &own)
    }

    /// Continues, asks about, finishes or gives up an upload. An upload whose state in the URL is not the newest is refused,
    /// as registries do that keep their state there.
    fn upload(&mut self, name: &str, id: &str, request: &Request) -> Response {
        let Some(received) = self.uploads.get_mut(id) else {
            return failure(404, "BLOB_UPLOAD_UNKNOWN");
        };
        let newest = received.len().to_string();
        let stale = request
            .parameter("state")
            .is_some_and(|state| state != newest);
        match request.method.as_str() {
            "GET" => {
                let mut response = accepted(name, id, received.len());
                response.status = 204;
                return response;
            }
            "DELETE" => {
                self.uploads.remove(id);
                return Response::status(204);
            }
            _ if stale => return failure(400, "BLOB_UPLOAD_INVALID"),
            _ => {}
        }
        if let Some(range) = request.header("content-range") {
            let start = range.trim_start_matches("bytes ").split('-').next();
            if start != Some(newest.as_str()) {
                return accepted_range(received.len());
            }
        }
        received.extend_from_slice(&request.body);
        match (request.method.as_str(), request.parameter("digest")) {
            ("PATCH", _) => accepted(name, id, received.len()),
            ("PUT", Some(wanted)) => {
                let bytes = self.uploads.remove(id).unwrap_or_default();
                if digest(&bytes) != wanted {
                    return failure(400, "DIGEST_INVALID");
                }
                self.blobs.insert(wanted.clone(), bytes);
                created(&format!("/v2/{name}/blobs/{wanted}"), &wanted)
            }
            _ => failure(405, "UNSUPPORTED"),
        }
    }
}

/// A chunk that does not begin where the last one ended.
fn accepted_range(length: usize) -> Response {
    Response::status(416).header("Range", format!("0-{}", length.saturating_sub(1)))
}
