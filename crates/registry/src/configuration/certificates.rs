//! Certificates of hosts: `*.crt`, `*.cert` and `*.key` in directories named like the hosts (containers-certs.d(5), docker's
//! "Verify repository client with certificates"), and those of box's own settings.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use box_transfer::{CaCerts, Identity};

use super::RegistrySettings;
use crate::RepositoryName;
use crate::error::{Error, Result};

/// No certificate, nor a bundle of them, is larger.
const LIMIT: u64 = 4 << 20;

/// The most files that are read of one directory.
const MOST_FILES: usize = 256;

/// Where the certificates of hosts are.
#[derive(Clone, Debug, Default)]
pub(super) struct Certificates {
    /// Directories with one directory for each host.
    pub directories: Vec<PathBuf>,
    own: Vec<(String, RegistrySettings)>,
}

/// The certificates for one host.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub ca_certs: Vec<CaCerts>,
    pub identity: Option<Identity>,
}

impl Certificates {
    /// Takes what box's own settings say about a host.
    pub fn add(&mut self, prefix: &str, settings: &RegistrySettings) {
        self.own.push((prefix.to_owned(), settings.clone()));
    }

    /// The certificates for the host of a repository, which has the name `contacted` on the network.
    pub fn of(&self, name: &RepositoryName, contacted: &str) -> Result<Found> {
        let mut found = Found::default();
        for (prefix, settings) in &self.own {
            // A connection belongs to a host, whatever is below it.
            if prefix.split('/').next() == Some(name.host()) {
                for path in &settings.ca_certs {
                    found.ca_certs.push(CaCerts {
                        name: path.display().to_string(),
                        pem: read(path)?,
                    });
                }
                if let (Some(cert), Some(key)) = (&settings.client_cert, &settings.client_key) {
                    found.identity = Some(identity(cert, key)?);
                }
            }
        }
        let mut hosts = vec![name.host()];
        if contacted != name.host() {
            hosts.push(contacted);
        }
        for directory in &self.directories {
            for host in &hosts {
                if self::directory(&directory.join(host), &mut found)? {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}

/// Adds what a directory holds. Whether it exists.
fn directory(path: &Path, found: &mut Found) -> Result<bool> {
    let failed = |source| box_transfer::Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => return Ok(false),
            // The directory of other users' daemons, which is not for this user: as containers' tools do.
            ErrorKind::PermissionDenied => {
                tracing::debug!("cannot read {}: permission denied", path.display());
                return Ok(false);
            }
            _ => return Err(failed(error).into()),
        },
    };
    let mut files = Vec::new();
    for entry in entries.take(MOST_FILES) {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    let ends = |file: &Path, with: &str| file.extension().is_some_and(|e| e == with);
    for file in files.iter().filter(|file| ends(file, "crt")) {
        found.ca_certs.push(CaCerts {
            name: file.display().to_string(),
            pem: read(file)?,
        });
    }
    for file in &files {
        let partner = match () {
            () if ends(file, "cert") => file.with_extension("key"),
            () if ends(file, "key") => file.with_extension("cert"),
            () => continue,
        };
        if !files.contains(&partner) {
            return Err(Error::Settings {
                file: file.display().to_string(),
                why: format!("{} is missing beside it", partner.display()),
            });
        }
        // The first pair, and none where box's own settings give one.
        if ends(file, "cert") && found.identity.is_none() {
            found.identity = Some(identity(file, &partner)?);
        }
    }
    Ok(true)
}

fn identity(cert: &Path, key: &Path) -> Result<Identity> {
    let mut pem = read(cert)?;
    pem.push(b'\n');
    pem.extend(read(key)?);
    Ok(Identity {
        name: cert.display().to_string(),
        pem,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| box_transfer::Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 {
        ..=LIMIT => Ok(bytes),
        _ => Err(failed(std::io::Error::other("it is too large")).into()),
    }
}
