//! Who the user is to a registry: files of credentials as containers-auth.json(5) and docker's `config.json` describe them, and the
//! programs that such files name.

mod file;
mod helper;
mod key;
mod login;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use box_transfer::Printable;

pub use login::Saved;

use crate::error::{Error, Result};
use crate::name::RepositoryName;
use file::{AuthFile, Loaded};
use helper::Helper;
use key::Key;

/// What proves to a registry, or to its token server, who the user is. Debug output shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password, or an access token that is used like one.
    Password {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// A refresh token, which the token server exchanges for tokens of registries.
    IdentityToken(String),
    /// A token that the registry itself takes.
    RegistryToken(String),
}

/// A file that may hold credentials.
#[derive(Clone, Debug)]
pub struct CredentialFile {
    /// Its path.
    pub path: PathBuf,
    /// Whether the user named it: then it must exist when it is read.
    pub is_named: bool,
}

/// Where the credentials of registries are. They are looked up when they are needed.
#[derive(Debug, Default)]
pub struct CredentialStore {
    /// In the order in which they are read.
    files: Vec<CredentialFile>,
    /// The directories with helper programs, as in `PATH`.
    programs: OsString,
    /// What has been warned about: once is enough.
    warned: Mutex<BTreeSet<String>>,
}

/// What to do about a source of credentials that does not work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    /// Say so once, and go on without.
    Warn,
    /// Fail.
    Fail,
}

impl CredentialStore {
    /// Credentials in these files, the first of which is written to if none exists; and of helper programs in these directories,
    /// separated as in `PATH`.
    pub fn new(files: Vec<CredentialFile>, programs: OsString) -> Self {
        Self {
            files,
            programs,
            warned: Mutex::default(),
        }
    }

    /// The credentials for reading a repository: those of the longest matching namespace in the first file that has any. `None` for
    /// anonymous access, also where a helper program or a file does not work: that is a warning.
    ///
    /// # Errors
    /// A file is damaged, or one that the user named cannot be read.
    pub fn find(&self, name: &RepositoryName) -> Result<Option<Credential>> {
        self.search(&Key::of(name), Otherwise::Warn)
    }

    /// The credentials for writing to a repository. Unlike with [`Self::find`], a helper program or a file that does not work is an
    /// error.
    pub fn find_for_push(&self, name: &RepositoryName) -> Result<Option<Credential>> {
        self.search(&Key::of(name), Otherwise::Fail)
    }

    fn search(&self, key: &Key, otherwise: Otherwise) -> Result<Option<Credential>> {
        for file in &self.files {
            let Some(loaded) = self.load(file, otherwise)? else {
                continue;
            };
            for key in key.and_above() {
                if let Some(found) = self.in_file(&loaded, &key, otherwise)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The credentials for exactly this key. A helper is better than what the file itself holds: its user has moved there.
    fn in_file(
        &self,
        file: &Loaded,
        key: &Key,
        otherwise: Otherwise,
    ) -> Result<Option<Credential>> {
        for (helper, ask) in self.helpers(file, key) {
            let answer = Helper::new(&helper, &self.programs).get(&ask);
            if let Some(found) = self.tolerate(answer, otherwise)?.flatten() {
                return Ok(Some(found));
            }
        }
        let found = file.auth(key)?;
        if found.is_some() && file.is_exposed() {
            self.warn(format!(
                "other users can read the credentials in {}",
                file.path.display()
            ));
        }
        Ok(found)
    }

    /// The helpers that a file names for a key, and what to ask them for.
    fn helpers(&self, file: &Loaded, key: &Key) -> Vec<(String, String)> {
        if let Some((written, helper)) = file.helper(key) {
            let mut asks = vec![written.clone()];
            asks.extend(key.spellings().into_iter().filter(|s| *s != written));
            return asks.into_iter().map(|ask| (helper.clone(), ask)).collect();
        }
        match file.store() {
            Some(store) if key.is_host() => key
                .spellings()
                .into_iter()
                .map(|ask| (store.clone(), ask))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// `None` if the file does not exist, or cannot be read and need not be.
    fn load(&self, file: &CredentialFile, otherwise: Otherwise) -> Result<Option<Loaded>> {
        match AuthFile::new(&file.path).load() {
            Ok(None) if file.is_named => Err(Error::Settings {
                file: file.path.display().to_string(),
                why: "no such file".to_owned(),
            }),
            Ok(loaded) => Ok(loaded),
            // The file of another user, as after su or a login as root.
            Err(error) if file::is_forbidden(&error) && !file.is_named => {
                Ok(self.tolerate(Err(error), otherwise)?.flatten())
            }
            Err(error) => Err(error),
        }
    }

    fn tolerate<T>(&self, result: Result<T>, otherwise: Otherwise) -> Result<Option<T>> {
        match (result, otherwise) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(error), Otherwise::Fail) => Err(error),
            (Err(error), Otherwise::Warn) => {
                self.warn(error.to_string());
                Ok(None)
            }
        }
    }

    fn warn(&self, text: String) {
        // A panic while it is held leaves a set of texts.
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(text.clone()) {
            tracing::warn!("{}", Printable::new(&text));
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => f
                .debug_struct("Password")
                .field("user", user)
                .finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
            Self::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

#[cfg(test)]
mod tests;
