//! Verifying stored blobs, and moving damaged ones to the quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::cache::beneath;
use crate::index::select::spellings;
use crate::index::{Entry, Index};
use crate::{
    Cache, Digest, Error, Event, Phase, Platform, Progress, Reference, Result, TaskId,
    VerifiedReader,
};
use box_host::is_unwritable;

/// The result of verifying blobs.
#[derive(Debug, Default)]
pub struct Audit {
    /// How many blobs were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The damaged or missing blobs, sorted by digest.
    pub damaged: Vec<DamagedBlob>,
    /// The requested references that the cache does not have.
    pub unknown: Vec<Reference>,
}

/// A blob that is missing, or does not match its name.
#[derive(Debug)]
pub struct DamagedBlob {
    /// Its name.
    pub digest: Digest,
    /// Why it is damaged.
    pub error: Error,
    /// The images that need it, with their platforms. Pulling them again repairs it. May be empty.
    pub images: Vec<(Reference, Option<Platform>)>,
    /// Where it was moved to. None if it is missing, or could not be moved.
    pub quarantined: Option<PathBuf>,
}

/// The images that need each blob.
type Users = BTreeMap<Digest, BTreeSet<(Reference, Option<Platform>)>>;

impl Cache {
    /// Reads blobs and compares them with their names: those of some images, or of the whole cache if none is named. Damaged ones
    /// are moved to `quarantine/`, so that the next pull fetches them again. The caller must not have a [`crate::Hold`].
    pub fn audit(&self, references: &[Reference], progress: &dyn Progress) -> Result<Audit> {
        let (index, _) = Index::read(self.layout())?;
        let mut audit = Audit::default();
        let users = match references {
            [] => self.users(&index.manifests)?,
            references => {
                let mut entries = Vec::new();
                for reference in references {
                    // An image with damaged documents is verified as far as they can be read.
                    let mut found: Vec<Entry> = Vec::new();
                    for name in spellings(reference) {
                        if found.is_empty() {
                            found = match name.digest() {
                                Some(_) => self.matching(&index, &name)?,
                                None => index.named(&name.key()).cloned().collect(),
                            };
                        }
                    }
                    if found.is_empty() {
                        audit.unknown.push(reference.clone());
                    }
                    entries.extend(found);
                }
                self.users(&entries)?
            }
        };
        let mut todo: BTreeSet<Digest> = users.keys().copied().collect();
        if references.is_empty() {
            todo.extend(self.survey()?.blobs.iter().map(|blob| blob.digest));
        }
        let task = TaskId::next();
        progress.event(Event::Started {
            task,
            phase: Phase::Verify,
            name: "blobs",
            total: self.size_of(&todo)?,
        });
        for digest in todo {
            if let Some(error) = self.check(&digest, &mut audit.bytes, &mut |bytes| {
                progress.event(Event::Advanced { task, bytes });
            })? {
                let quarantined = self.quarantine(&digest)?;
                let images = users.get(&digest).into_iter().flatten().cloned().collect();
                audit.damaged.push(DamagedBlob {
                    digest,
                    error,
                    images,
                    quarantined,
                });
            }
            audit.blobs += 1;
        }
        let complete = audit.damaged.is_empty();
        progress.event(Event::Finished { task, complete });
        Ok(audit)
    }

    /// The blobs that entries need.
    fn users(&self, entries: &[Entry]) -> Result<Users> {
        let mut users = Users::new();
        for entry in entries {
            for digest in self.mark([entry])?.blobs {
                let images = users.entry(digest).or_default();
                images.extend(
                    entry
                        .reference()
                        .map(|reference| (reference, entry.platform())),
                );
            }
        }
        Ok(users)
    }

    fn size_of(&self, blobs: &BTreeSet<Digest>) -> Result<Option<u64>> {
        let sizes: Result<Vec<_>> = blobs.iter().map(|digest| self.has_blob(digest)).collect();
        Ok(Some(sizes?.into_iter().flatten().sum()))
    }

    /// Reads a blob. Returns what is wrong with it, if anything.
    fn check(
        &self,
        digest: &Digest,
        bytes: &mut u64,
        advance: &mut dyn FnMut(u64),
    ) -> Result<Option<Error>> {
        let mut reader = match self.open_blob(digest) {
            Ok(reader) => reader,
            Err(error @ Error::MissingBlob { .. }) => return Ok(Some(error)),
            Err(error) => return Err(error),
        };
        match read_through(&mut reader, bytes, advance) {
            Ok(()) => Ok(reader.finish().err()),
            // A read error of the medium is damage as well.
            Err(error) => Ok(Some(reader.failure(error))),
        }
    }

    /// Moves a damaged blob to the quarantine. None if it is missing, or was replaced by a good one meanwhile.
    fn quarantine(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        let path = self.layout().blob(digest);
        if !path.exists() {
            return Ok(None);
        }
        // No one can publish now, so the blob that is checked here is the one that is moved.
        let _alone = match self.hold_alone() {
            Ok(alone) => alone,
            Err(error) => return unwritable(&path, error),
        };
        if self.check(digest, &mut 0, &mut |_| ())?.is_none() {
            return Ok(None);
        }
        let directory = self.layout().quarantine();
        let layout = self.layout();
        let made = beneath::make_directory(layout, &directory, beneath::DIRECTORY);
        let moved = made.and_then(|()| {
            let to = free_name(&directory, digest)?;
            beneath::rename(layout, &path, &to).map(|()| to)
        });
        match moved {
            Ok(to) => Ok(Some(to)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => unwritable(&path, Error::io("quarantine", &path)(error)),
        }
    }
}

/// Damage in a cache that is not writable is reported all the same.
fn unwritable(path: &Path, error: Error) -> Result<Option<PathBuf>> {
    match error {
        Error::Io { ref source, .. }
            if is_unwritable(source) || source.kind() == io::ErrorKind::NotFound =>
        {
            tracing::warn!(path = %path.display(), %error, "a damaged blob stays where it is");
            Ok(None)
        }
        error => Err(error),
    }
}

/// An unused name in the quarantine. No other process is looking for one.
fn free_name(directory: &Path, digest: &Digest) -> io::Result<PathBuf> {
    for number in 1.. {
        let path = directory.join(format!(
            "{}-{}.{number}",
            digest.algorithm().as_str(),
            digest.hex()
        ));
        if !path.try_exists()? {
            return Ok(path);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn read_through(
    reader: &mut VerifiedReader<File>,
    bytes: &mut u64,
    advance: &mut dyn FnMut(u64),
) -> io::Result<()> {
    use io::Read;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                *bytes += count as u64;
                advance(*bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
