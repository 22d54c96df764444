#![allow(clippy::unwrap_used)]

mod access;
mod reading;
mod server;

use std::path::Path;
use std::time::Duration;

use box_cache::Digest;

use super::*;
use crate::{CredentialFile, Document};
use server::{Asked, Server, answer};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest, which is no more than it has to be.
const SMALL: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;

/// Keeps all notes.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn event(&self, event: Event<'_>) {
        if let Event::Note { text } | Event::Warning { text } = event {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
}

impl Notes {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn options() -> Options {
    Options {
        retry: Retry {
            attempts: 3,
            first_delay: Duration::from_millis(1),
            ..Retry::default()
        },
        ..Options::default()
    }
}

/// Options with one entry of a file of credentials for a host.
fn options_for(host: &str, entry: &str) -> (Options, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    std::fs::write(&path, format!(r#"{{"auths":{{"{host}":{entry}}}}}"#)).unwrap();
    let file = CredentialFile {
        path,
        is_named: true,
    };
    let options = Options {
        credentials: CredentialStore::new(vec![file], "".into()),
        ..options()
    };
    (options, dir)
}

/// The user `me` with the password `secret`.
const ME: &str = r#"{"auth":"bWU6c2VjcmV0"}"#;
const ME_BASIC: &str = "authorization: Basic bWU6c2VjcmV0";

fn manifest_of(options: &Options, host: &str) -> Result<Document> {
    let notes = Notes::default();
    let registry = Registry::new(options, &notes);
    let name = RepositoryName::new(host, "a/b");
    let repository = registry.repository(&name)?;
    repository.manifest(crate::Wanted::Tag("1"))
}

fn challenge(host: &str) -> String {
    let bearer = format!(r#"Bearer realm="http://{host}/token",service="s""#);
    let header = format!(
        "WWW-Authenticate: Negotiate\r\nwww-authenticate: Basic realm=\"x, y\", {bearer}\r\n"
    );
    answer("401 Unauthorized", &header, "")
}

fn document(body: &str) -> String {
    answer("200 OK", &format!("Content-Type: {MANIFEST}\r\n"), body)
}

/// The number in the token that a request has.
fn token(asked: &Asked) -> Option<u32> {
    let (_, rest) = asked.headers.split_once("Bearer t")?;
    rest.lines().next()?.trim().parse().ok()
}
