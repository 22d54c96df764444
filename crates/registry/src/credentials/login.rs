//! Saving and removing credentials.

use std::path::PathBuf;

use super::file::AuthFile;
use super::helper::Helper;
use super::key::Key;
use super::{Credential, CredentialStore, Otherwise};
use crate::error::{Error, Result};

/// Where credentials are, or were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// In this file.
    File(PathBuf),
    /// With a helper program of this name.
    Helper(String),
}

impl CredentialStore {
    /// Saves the credentials for a host, or for a namespace there (`ghcr.io/org`): with the helper that the first file names for it, or
    /// in the file itself. It is written to a new file that takes the place of the old one, mode 0600.
    pub fn login(&self, key: &str, credential: &Credential) -> Result<Saved> {
        let key = Key::parse(key);
        let path = self.file_to_write()?;
        let file = AuthFile::new(&path);
        let helper = file.load()?.and_then(|loaded| match loaded.helper(&key) {
            Some((written, helper)) => Some((written, helper)),
            None if key.is_host() => Some((key.docker().to_owned(), loaded.store()?)),
            None => None,
        });
        match helper {
            Some((ask, helper)) => {
                Helper::new(&helper, &self.programs).store(&ask, credential)?;
                // The key alone, as docker does; it is how the user is found to be logged in.
                file.edit(|loaded| loaded.set(&key, None))?;
                Ok(Saved::Helper(helper))
            }
            None => {
                file.edit(|loaded| loaded.set(&key, Some(credential)))?;
                Ok(Saved::File(path))
            }
        }
    }

    /// Removes the credentials for a host, or for exactly this namespace, from all files and helpers. Returns where there were any.
    pub fn logout(&self, key: &str) -> Result<Vec<Saved>> {
        self.remove(&Key::parse(key))
    }

    /// Removes the credentials for all hosts and namespaces that the files name.
    pub fn logout_all(&self) -> Result<Vec<Saved>> {
        let mut keys = Vec::new();
        for file in &self.files {
            if let Some(loaded) = AuthFile::new(&file.path).load()? {
                keys.extend(loaded.keys());
            }
        }
        let mut all = Vec::new();
        for key in keys {
            for saved in self.remove(&key)? {
                if !all.contains(&saved) {
                    all.push(saved);
                }
            }
        }
        Ok(all)
    }

    /// The credentials in use for a host or a namespace.
    pub fn of(&self, key: &str) -> Result<Option<Credential>> {
        self.search(&Key::parse(key), Otherwise::Fail)
    }

    fn remove(&self, key: &Key) -> Result<Vec<Saved>> {
        let mut from = Vec::new();
        for file in &self.files {
            let auth_file = AuthFile::new(&file.path);
            let Some(loaded) = auth_file.load()? else {
                continue;
            };
            for (helper, ask) in self.helpers(&loaded, key) {
                let saved = Saved::Helper(helper.clone());
                if Helper::new(&helper, &self.programs).erase(&ask)? && !from.contains(&saved) {
                    from.push(saved);
                }
            }
            let has_any = loaded.auth(key).map_or(true, |found| found.is_some());
            if auth_file.edit(|loaded| Ok(loaded.remove(key)))? && has_any {
                from.push(Saved::File(file.path.clone()));
            }
        }
        Ok(from)
    }

    /// The first file that exists, or else the first of all.
    fn file_to_write(&self) -> Result<PathBuf> {
        let existing = self.files.iter().find(|file| file.path.exists());
        let file = existing.or(self.files.first());
        file.map(|file| file.path.clone())
            .ok_or_else(|| Error::Settings {
                file: "the files of credentials".to_owned(),
                why: "there is no place for them".to_owned(),
            })
    }
}
