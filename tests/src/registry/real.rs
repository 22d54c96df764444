//! Debian's docker-registry.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use super::{Image, TokenServer};
use crate::server::Certificate;

/// The user of registries that want a password.
pub const USER: &str = "alice";
/// Its password.
pub const PASSWORD: &str = "open: sesame";

/// A running docker-registry with a storage of its own; it ends when dropped.
pub struct Registry {
    child: Child,
    dir: TempDir,
    host: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Open to everyone, over plain HTTP, as `127.0.0.1:PORT`.
    pub fn new() -> Self {
        Self::start("127.0.0.1", |_| String::new())
    }

    /// Behind Basic authentication for [`USER`] with [`PASSWORD`].
    pub fn with_password() -> Self {
        Self::start("127.0.0.1", htpasswd)
    }

    /// Open to everyone, over TLS, as `localhost:PORT`.
    pub fn secure(certificate: &Certificate) -> Self {
        Self::start("localhost", |dir| tls(dir, certificate))
    }

    /// Over TLS and with a password.
    pub fn secure_with_password(certificate: &Certificate) -> Self {
        Self::start("localhost", |dir| tls(dir, certificate) + &htpasswd(dir))
    }

    /// Behind tokens that `tokens` hands out.
    pub fn with_tokens(tokens: &TokenServer) -> Self {
        Self::start("127.0.0.1", |dir| {
            let (realm, service) = (tokens.realm(), TokenServer::SERVICE);
            let (issuer, bundle) = (TokenServer::ISSUER, tokens.write(dir));
            format!(
                "auth:\n  token:\n    realm: {realm}\n    service: {service}\n    issuer: {issuer}\n    \
                 rootcertbundle: {}\n",
                bundle.display()
            )
        })
    }

    /// `more` gets the directory of the registry, and returns more sections of its configuration.
    pub fn start(name: &str, more: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("box-registry-")
            .tempdir()
            .expect("the temporary directory is writable");
        let tail = more(dir.path());
        // Certificates are a part of the section `http`.
        let (http, rest) = match tail.strip_prefix("  tls:") {
            Some(tls) => match tls.find("\nauth:") {
                Some(at) => (format!("  tls:{}\n", &tls[..at]), tls[at + 1..].to_owned()),
                None => (tail.clone(), String::new()),
            },
            None => (String::new(), tail),
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n  formatter: text\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nhttp:\n  addr: 127.0.0.1:0\n  secret: of the tests\n{http}{rest}",
            dir.path().join("storage").display()
        );
        let path = dir.path().join("config.yml");
        fs::write(&path, config).expect("the temporary directory is writable");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed: scripts/test installs it");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = mpsc::channel();
        let stdout: Box<dyn std::io::Read + Send> =
            Box::new(child.stdout.take().expect("a pipe was asked for"));
        let stderr = Box::new(child.stderr.take().expect("a pipe was asked for"));
        for pipe in [stdout, stderr] {
            let (log, tell) = (Arc::clone(&log), tell.clone());
            std::thread::spawn(move || follow(pipe, &log, &tell));
        }
        let port = told
            .recv_timeout(Duration::from_secs(30))
            .unwrap_or_else(|_| panic!("docker-registry does not listen: {:?}", log.lock()));
        Self {
            child,
            dir,
            host: format!("{name}:{port}"),
            log,
        }
    }

    /// `127.0.0.1:PORT` or `localhost:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `HOST:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// The lines of its log so far: one `level=…` line for each answer, and one in the form of a web server's log.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no reader panicked").clone()
    }

    /// The number of requests so far that a web server's log has in this form, such as `PUT /v2/app/manifests/`.
    pub fn count(&self, request: &str) -> usize {
        let needle = format!("\"{request}");
        let log = self.log();
        log.iter()
            .filter(|line| !line.contains("level=") && line.contains(&needle))
            .count()
    }

    /// Puts an image straight into the storage, as no registry would let it in if it is a wrong one.
    pub fn put(&self, repository: &str, tag: &str, image: &Image) {
        for (digest, bytes) in &image.blobs {
            self.put_blob(repository, digest, bytes);
        }
        for (digest, (_, bytes)) in &image.children {
            self.put_manifest(repository, digest, bytes);
        }
        let digest = image.digest();
        self.put_manifest(repository, &digest, &image.bytes);
        let tag = self
            .repository(repository)
            .join("_manifests/tags")
            .join(tag);
        let hex = digest.trim_start_matches("sha256:");
        write(
            &tag.join("index/sha256").join(hex).join("link"),
            digest.as_bytes(),
        );
        write(&tag.join("current/link"), digest.as_bytes());
    }

    /// Puts a blob under a name, whether it is its digest or not.
    pub fn put_blob(&self, repository: &str, digest: &str, bytes: &[u8]) {
        write(&self.data(digest), bytes);
        let layers = self.repository(repository).join("_layers/sha256");
        let hex = digest.trim_start_matches("sha256:");
        write(&layers.join(hex).join("link"), digest.as_bytes());
    }

    fn put_manifest(&self, repository: &str, digest: &str, bytes: &[u8]) {
        write(&self.data(digest), bytes);
        let revisions = self
            .repository(repository)
            .join("_manifests/revisions/sha256");
        let hex = digest.trim_start_matches("sha256:");
        write(&revisions.join(hex).join("link"), digest.as_bytes());
    }

    /// The bytes that a tag stands for.
    pub fn manifest(&self, repository: &str, tag: &str) -> Option<Vec<u8>> {
        let tags = self.repository(repository).join("_manifests/tags");
        let digest = fs::read_to_string(tags.join(tag).join("current/link")).ok()?;
        fs::read(self.data(&digest)).ok()
    }

    /// The bytes of a blob that a repository has.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let hex = digest.trim_start_matches("sha256:");
        let layers = self.repository(repository).join("_layers/sha256");
        layers.join(hex).join("link").exists().then_some(())?;
        fs::read(self.data(digest)).ok()
    }

    /// Everything that a repository lacks of the image that a tag stands for; empty where it is whole.
    pub fn missing(&self, repository: &str, tag: &str) -> Vec<String> {
        let Some(bytes) = self.manifest(repository, tag) else {
            return vec![format!("tag {tag}")];
        };
        let mut missing = Vec::new();
        self.look(repository, &bytes, &mut missing);
        missing
    }

    fn look(&self, repository: &str, document: &[u8], missing: &mut Vec<String>) {
        let document: serde_json::Value =
            serde_json::from_slice(document).unwrap_or(serde_json::Value::Null);
        let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
        for child in list("manifests") {
            let digest = child["digest"].as_str().unwrap_or_default();
            match fs::read(self.data(digest)) {
                Ok(bytes) => self.look(repository, &bytes, missing),
                Err(_) => missing.push(digest.to_owned()),
            }
        }
        let config = Some(document["config"].clone()).filter(|config| !config.is_null());
        for blob in list("layers").into_iter().chain(config) {
            let digest = blob["digest"].as_str().unwrap_or_default();
            let bytes = self.blob(repository, digest);
            if bytes.is_none_or(|bytes| super::digest(&bytes) != digest) {
                missing.push(digest.to_owned());
            }
        }
    }

    fn repository(&self, name: &str) -> PathBuf {
        let storage = self
            .dir
            .path()
            .join("storage/docker/registry/v2/repositories");
        storage.join(name)
    }

    fn data(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self
            .dir
            .path()
            .join("storage/docker/registry/v2/blobs/sha256");
        blobs
            .join(hex.get(..2).unwrap_or("xx"))
            .join(hex)
            .join("data")
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Keeps the lines of the log, and tells the port once.
fn follow(pipe: Box<dyn std::io::Read + Send>, log: &Mutex<Vec<String>>, tell: &mpsc::Sender<u16>) {
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(port) = digits.parse() {
                tell.send(port).ok();
            }
        }
        log.lock().expect("no reader panics").push(line);
    }
}

fn htpasswd(dir: &Path) -> String {
    let made = Command::new("htpasswd")
        .args(["-nBb", "-C", "4", USER, PASSWORD])
        .output()
        .expect("htpasswd is installed: scripts/test installs it");
    assert!(made.status.success(), "htpasswd: {made:?}");
    let path = dir.join("htpasswd");
    write(&path, &made.stdout);
    format!(
        "auth:\n  htpasswd:\n    realm: tests\n    path: {}\n",
        path.display()
    )
}

fn tls(dir: &Path, certificate: &Certificate) -> String {
    let (chain, key) = (certificate.write(dir), certificate.write_key(dir));
    format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        chain.display(),
        key.display()
    )
}

fn write(path: &Path, bytes: &[u8]) {
    let parent = path
        .parent()
        .expect("the path is below the registry's directory");
    fs::create_dir_all(parent).expect("the temporary directory is writable");
    let mut file = fs::File::create(path).expect("the temporary directory is writable");
    file.write_all(bytes)
        .expect("the temporary directory has room");
}
