//! Files of credentials: containers-auth.json(5), and docker's `config.json`, which has the same form. What box does not know in them
//! is kept when they are written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

use super::Credential;
use super::key::Key;
use crate::error::{Error, Result};

/// No such file is larger.
const LIMIT: u64 = 4 << 20;

/// Padding is written, and not insisted on: files are written by hand, too.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The user name that says that the password is a refresh token, by the protocol of helpers.
pub(super) const TOKEN_USER: &str = "<token>";

/// A file that may not exist.
pub(super) struct AuthFile<'a> {
    path: &'a Path,
}

/// The content of a file.
pub(super) struct Loaded {
    pub path: PathBuf,
    mode: u32,
    content: Map<String, Value>,
}

impl<'a> AuthFile<'a> {
    pub fn new(path: &'a Path) -> Self {
        Self { path }
    }

    /// Reads the file; `None` if it does not exist.
    pub fn load(&self) -> Result<Option<Loaded>> {
        let file = match OpenOptions::new().read(true).open(self.path) {
            Ok(file) => file,
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => return Ok(None),
                _ => return Err(self.failed("read", error)),
            },
        };
        let mode = file
            .metadata()
            .map_err(|error| self.failed("read", error))?
            .mode();
        let mut text = String::new();
        file.take(LIMIT + 1)
            .read_to_string(&mut text)
            .map_err(|error| self.failed("read", error))?;
        if text.len() as u64 > LIMIT {
            return Err(self.damaged("it is too large"));
        }
        // Tools leave an empty file where there is nothing to say.
        let content = match text.trim() {
            "" => Map::new(),
            text => match serde_json::from_str(text) {
                Ok(Value::Object(content)) => content,
                Ok(_) => return Err(self.damaged("it is not a JSON object")),
                // The text of the error is a place in the file, and never what is there.
                Err(error) => {
                    let place = format!(
                        "it is not JSON at line {}, column {}",
                        error.line(),
                        error.column()
                    );
                    return Err(self.damaged(&place));
                }
            },
        };
        Ok(Some(Loaded {
            path: self.path.to_owned(),
            mode,
            content,
        }))
    }

    /// Changes the content, under a lock, and puts the new file in the place of the old one. Mode 0600, the owner stays. Nothing is
    /// written if `change` returns that there is nothing to change; whether there was.
    pub fn edit(&self, change: impl FnOnce(&mut Loaded) -> Result<bool>) -> Result<bool> {
        let failed = |error| self.failed("write", error);
        // A link, as people who keep their settings elsewhere have, stays a link.
        let path = match std::fs::canonicalize(self.path) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => self.path.to_owned(),
            Err(error) => return Err(failed(error)),
        };
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(self.damaged("it is not a file"));
        };
        let directory = match directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => directory,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let locked = File::open(directory).map_err(failed)?;
        locked.lock().map_err(failed)?;
        let mut loaded = match self.load()? {
            Some(loaded) => loaded,
            None => Loaded::empty(self.path),
        };
        if !change(&mut loaded)? {
            return Ok(false);
        }
        let mut text = serde_json::to_string_pretty(&loaded.content)
            .expect("a map with text as keys is always JSON");
        text.push('\n');
        let mut aside = name.to_owned();
        aside.push(format!(".{}.new", std::process::id()));
        let aside = directory.join(aside);
        let written = replace(&aside, &path, text.as_bytes());
        if written.is_err() {
            // The first failure is the one to tell; this one only leaves a file with the credentials of the same user.
            let _ = std::fs::remove_file(&aside);
        }
        written.map_err(failed)?;
        locked.sync_all().map_err(failed)?;
        Ok(true)
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        let path = self.path.to_owned();
        box_transfer::Error::Io {
            action,
            path,
            source,
        }
        .into()
    }

    fn damaged(&self, why: &str) -> Error {
        Error::Settings {
            file: self.path.display().to_string(),
            why: why.to_owned(),
        }
    }
}

impl Loaded {
    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            mode: 0o600,
            content: Map::new(),
        }
    }

    /// Whether users other than its owner can read the file.
    pub fn is_exposed(&self) -> bool {
        self.mode & 0o044 != 0
    }

    /// Whether docker writes this file, too: its key of docker.io is another one.
    pub fn is_docker(&self) -> bool {
        self.path.file_name().is_some_and(|n| n == "config.json")
    }

    /// The credentials that the file holds for exactly this key.
    pub fn auth(&self, key: &Key) -> Result<Option<Credential>> {
        let Some((written, entry)) = self.entry("auths", key) else {
            return Ok(None);
        };
        credential(entry).map_err(|why| Error::Settings {
            file: self.path.display().to_string(),
            why: format!("its entry {written} {why}"),
        })
    }

    /// The helper for exactly this key, after the key as the file writes it.
    pub fn helper(&self, key: &Key) -> Option<(String, String)> {
        let (written, helper) = self.entry("credHelpers", key)?;
        let helper = helper.as_str().filter(|helper| !helper.is_empty())?;
        Some((written.to_owned(), helper.to_owned()))
    }

    /// The helper for all hosts without one of their own.
    pub fn store(&self) -> Option<String> {
        let store = self.content.get("credsStore")?.as_str()?;
        (!store.is_empty()).then(|| store.to_owned())
    }

    /// Every key with credentials or a helper.
    pub fn keys(&self) -> Vec<Key> {
        let objects = ["auths", "credHelpers"].into_iter();
        let objects = objects.filter_map(|name| self.content.get(name)?.as_object());
        objects
            .flat_map(|object| object.keys())
            .map(|written| Key::parse(written))
            .collect()
    }

    /// Puts credentials in; without any, only the key, as docker does for credentials that a helper keeps.
    pub fn set(&mut self, key: &Key, credential: Option<&Credential>) -> Result<bool> {
        let entry = match credential {
            Some(Credential::Password { user, password }) => {
                json!({ "auth": BASE64.encode(format!("{user}:{password}")) })
            }
            Some(Credential::IdentityToken(token)) => json!({ "identitytoken": token }),
            Some(Credential::RegistryToken(token)) => json!({ "registrytoken": token }),
            None => json!({}),
        };
        self.remove(key);
        let written = match self.is_docker() {
            true => key.docker().to_owned(),
            false => key.as_str().to_owned(),
        };
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        let Value::Object(auths) = auths else {
            return Err(Error::Settings {
                file: self.path.display().to_string(),
                why: "its auths is not an object".to_owned(),
            });
        };
        auths.insert(written, entry);
        Ok(true)
    }

    /// Removes what is there for exactly this key, in all spellings. Whether there was anything.
    pub fn remove(&mut self, key: &Key) -> bool {
        let Some(Value::Object(auths)) = self.content.get_mut("auths") else {
            return false;
        };
        let before = auths.len();
        auths.retain(|written, _| Key::parse(written) != *key);
        auths.len() != before
    }

    /// The entry of an object for a key: as names spell it, else in another spelling.
    fn entry(&self, object: &str, key: &Key) -> Option<(&str, &Value)> {
        let object = self.content.get(object)?.as_object()?;
        if let Some((written, value)) = object.get_key_value(key.as_str()) {
            return Some((written, value));
        }
        let mut others = object.iter();
        let (written, value) = others.find(|(written, _)| Key::parse(written) == *key)?;
        Some((written, value))
    }
}

/// Whether a file could not be read because it belongs to somebody else.
pub(super) fn is_forbidden(error: &Error) -> bool {
    let Error::Transfer(box_transfer::Error::Io { source, .. }) = error else {
        return false;
    };
    source.kind() == ErrorKind::PermissionDenied
}

fn replace(aside: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    // What a killed process left; nobody else writes there under the lock.
    if let Err(error) = std::fs::remove_file(aside)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(aside)?;
    if let Ok(old) = std::fs::metadata(path) {
        let (mine, old) = (file.metadata()?, (old.uid(), old.gid()));
        if (mine.uid(), mine.gid()) != old {
            std::os::unix::fs::fchown(&file, Some(old.0), Some(old.1))?;
        }
    }
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(aside, path)
}

/// Reads an entry of `auths`. An empty one says that a helper has the credentials, or nothing.
fn credential(entry: &Value) -> Result<Option<Credential>, String> {
    let text = |name: &str| {
        let text = entry.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credential::IdentityToken(token)));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credential::RegistryToken(token)));
    }
    let Some(auth) = text("auth") else {
        return Ok(match (text("username"), text("password")) {
            (Some(user), Some(password)) => Some(password_or_token(user, password)),
            _ => None,
        });
    };
    let auth: String = auth.split_ascii_whitespace().collect();
    let decoded = BASE64
        .decode(auth)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or("has an auth that is not text in base64")?;
    let (user, password) = decoded
        .split_once(':')
        .ok_or("has an auth without a colon")?;
    // Docker pads with zeros.
    let password = password.trim_end_matches('\0');
    match (user, password) {
        ("", "") => Ok(None),
        _ => Ok(Some(password_or_token(
            user.to_owned(),
            password.to_owned(),
        ))),
    }
}

/// A name and a password, or the refresh token that they stand for.
pub(super) fn password_or_token(user: String, password: String) -> Credential {
    match user == TOKEN_USER {
        true => Credential::IdentityToken(password),
        false => Credential::Password { user, password },
    }
}
