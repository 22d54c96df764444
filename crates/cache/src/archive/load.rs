//! Loading image archives. Nothing in them is believed before it is verified.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::time::SystemTime;

use crate::archive::tarball::{Link, Member, Tarball, normal};
use crate::image::MAX_DOCUMENT;
use crate::{
    Algorithm, Cache, Claim, Digest, Error, Event, Expected, Hold, Image, Partial, PartialKey,
    Phase, Progress, Provenance, Reference, Result, TaskId, Verified,
};

/// Files up to this size are kept in memory.
const SMALL: u64 = 64 * 1024;
/// The total size of all files in memory.
const MAX_SMALL: u64 = 32 << 20;
/// The most larger files of an archive: each has an open descriptor until it is published.
const MAX_LARGE: usize = 800;
/// The most members of an archive.
const MAX_MEMBERS: usize = 100_000;

/// Options of loading an archive.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The name for the image, if the archive contains one image. Overrides the name in the archive.
    pub name: Option<Reference>,
    /// The archive's size in bytes, if known, for the progress.
    pub total: Option<u64>,
    /// Decompresses layers to compare their content with the config. Without it they are not compared, and layers of docker archives
    /// in xz and bzip2 are refused.
    pub decompress: Option<Decompress>,
}

/// Decompresses a stream, within limits of its own.
pub type Decompress = fn(&mut dyn Read, &mut dyn Write) -> io::Result<()>;

impl Cache {
    /// Reads an image archive and lists its images: an OCI layout (`oci-archive`) or the output of `docker save` (`docker-archive`),
    /// as an uncompressed tar archive. It is read once, in bounded memory. Every blob is verified against the digest by which the
    /// archive refers to it. Images are listed one after the other: if one is malformed, those before it stay.
    ///
    /// `what` names the archive in errors, and is noted as the origin of the images.
    pub fn load(
        &self,
        input: impl Read,
        what: &str,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Image>> {
        let mut archive = Contents::new(self, what);
        let task = TaskId::next();
        progress.event(Event::Started {
            task,
            phase: Phase::Load,
            name: what,
            total: options.total,
        });
        let read = archive.read(input, &mut |bytes| {
            progress.event(Event::Advanced { task, bytes })
        });
        let complete = read.is_ok();
        progress.event(Event::Finished { task, complete });
        read?;
        if archive.has("index.json") {
            return archive.publish_layout(options, progress);
        }
        if archive.has("manifest.json") {
            return archive.publish_docker(options, progress);
        }
        Err(archive.malformed(
            "it contains neither index.json nor manifest.json, so it is not an image archive",
        ))
    }
}

/// The files of an archive, none of them visible in the cache yet.
pub(super) struct Contents<'c> {
    pub(super) cache: &'c Cache,
    pub(super) what: String,
    pub(super) files: BTreeMap<String, File>,
    links: BTreeMap<String, String>,
    small: u64,
    large: usize,
}

/// A regular file of the archive.
pub(super) enum File {
    /// In memory.
    Small(Vec<u8>),
    /// In a file that has no name in the cache.
    Large(Box<Partial>),
    /// A blob of the cache by now.
    Blob(Digest, u64),
}

impl<'c> Contents<'c> {
    fn new(cache: &'c Cache, what: &str) -> Contents<'c> {
        Contents {
            cache,
            what: what.to_owned(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            small: 0,
            large: 0,
        }
    }

    pub(super) fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::Archive {
            path: (&self.what).into(),
            reason: reason.into(),
        }
    }

    /// The error for an archive whose images have no names.
    pub(super) fn nameless(&self) -> Error {
        Error::Nameless {
            path: (&self.what).into(),
        }
    }

    /// The name of a file of the archive in errors.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{name} in {}", self.what)
    }

    /// Refuses a blob whose digest the cache does not use.
    pub(super) fn only_sha256(&self, name: &str, digest: &Digest) -> Result<()> {
        match digest.algorithm() {
            Algorithm::Sha256 => Ok(()),
            other => Err(self.malformed(format!(
                "{name} has a {} digest; box stores blobs by sha256 digests only",
                other.as_str()
            ))),
        }
    }

    fn read(&mut self, input: impl Read, advance: &mut dyn FnMut(u64)) -> Result<()> {
        let mut tarball = Tarball::new(input, &self.what);
        let mut members = 0;
        while let Some(member) = tarball.next()? {
            members += 1;
            if members > MAX_MEMBERS {
                return Err(self.malformed(format!("more than {MAX_MEMBERS} entries")));
            }
            match member.link {
                Some(_) => self.add_link(member)?,
                None => self.add_file(member, &mut tarball, advance)?,
            }
        }
        // A compressed archive that is truncated after its last file is still damaged, and a pipe's writer waits until all is read.
        tarball.drain()
    }

    fn add_link(&mut self, member: Member) -> Result<()> {
        let target = match &member.link {
            Some(Link::Symbolic(target)) => {
                let directory = member
                    .name
                    .rfind('/')
                    .map_or("", |slash| &member.name[..slash]);
                format!("{directory}/{target}")
            }
            Some(Link::Hard(target)) => target.clone(),
            None => return Ok(()),
        };
        let target =
            normal(&target).ok_or_else(|| self.malformed("a link points outside the archive"))?;
        self.keep_small((member.name.len() + target.len()) as u64)?;
        self.links.insert(member.name, target);
        Ok(())
    }

    fn add_file(
        &mut self,
        member: Member,
        tarball: &mut Tarball<impl Read>,
        advance: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let failed = |error: io::Error, what: &str, at| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Archive {
                path: what.into(),
                reason: format!("it ends in the middle of an entry (at byte {at})"),
            },
            _ => Error::io("read", what)(error),
        };
        self.keep_small(member.name.len() as u64)?;
        let file = if member.size <= SMALL {
            self.keep_small(member.size)?;
            let mut bytes = vec![0; usize::try_from(member.size).unwrap_or(0)];
            tarball
                .read_exact(&mut bytes)
                .map_err(|error| failed(error, &self.what, tarball.position()))?;
            File::Small(bytes)
        } else {
            self.large += 1;
            if self.large > MAX_LARGE {
                return Err(self.malformed(format!("more than {MAX_LARGE} large files")));
            }
            let mut partial = self.unnamed()?;
            let mut left = member.size;
            let mut buffer = vec![0; 128 * 1024];
            while left > 0 {
                let most = buffer
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                match tarball.read(&mut buffer[..most]) {
                    Ok(count) => {
                        partial.append(&buffer[..count])?;
                        left -= count as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error, &self.what, tarball.position())),
                }
                advance(tarball.position());
            }
            File::Large(partial)
        };
        advance(tarball.position());
        self.links.remove(&member.name);
        self.files.insert(member.name, file);
        Ok(())
    }

    fn keep_small(&mut self, bytes: u64) -> Result<()> {
        self.small += bytes;
        match self.small > MAX_SMALL {
            true => Err(self.malformed(format!(
                "its small files have more than {MAX_SMALL} bytes together"
            ))),
            false => Ok(()),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Follows links from a name to a regular file.
    pub(super) fn resolve(&self, name: &str) -> Result<String> {
        let mut name = normal(name)
            .ok_or_else(|| self.malformed(format!("{name:?} points outside the archive")))?;
        for _ in 0..40 {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None if self.files.contains_key(&name) => return Ok(name),
                None => return Err(self.malformed(format!("{name} is missing"))),
            }
        }
        Err(self.malformed(format!("{name} is a link to itself")))
    }

    /// The bytes of a document.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let too_large = || Error::TooLarge {
            what: format!("{name} in {}", self.what),
            limit: MAX_DOCUMENT,
        };
        match &self.files[&self.resolve(name)?] {
            File::Small(bytes) => Ok(bytes.clone()),
            File::Large(partial) if partial.length() > MAX_DOCUMENT => Err(too_large()),
            File::Large(partial) => {
                let mut bytes = Vec::new();
                partial
                    .reader()?
                    .take(MAX_DOCUMENT)
                    .read_to_end(&mut bytes)
                    .map_err(Error::io("read", &self.what))?;
                Ok(bytes)
            }
            File::Blob(_, size) if *size > MAX_DOCUMENT => Err(too_large()),
            File::Blob(digest, size) => self.cache.read_blob(digest, *size, MAX_DOCUMENT),
        }
    }

    /// The bytes of a file.
    pub(super) fn reader(&self, name: &str) -> Result<Box<dyn Read + '_>> {
        Ok(match &self.files[&self.resolve(name)?] {
            File::Small(bytes) => Box::new(bytes.as_slice()),
            File::Large(partial) => Box::new(partial.reader()?),
            File::Blob(digest, _) => Box::new(self.cache.open_blob(digest)?),
        })
    }

    /// A file without a name, for a stream of bytes.
    pub(super) fn unnamed(&self) -> Result<Box<Partial>> {
        match self
            .cache
            .partial(&PartialKey::Anonymous, &mut |_| ControlFlow::Continue(()))?
        {
            Claim::Partial(partial) => Ok(partial),
            Claim::Present(_) => {
                Err(self.malformed("a file without a name was found in the cache"))
            }
        }
    }

    /// Stores a file as a blob if it has the expected digest and size, and returns its digest and size.
    pub(super) fn commit(
        &mut self,
        hold: &Hold,
        name: &str,
        expected: &Expected,
    ) -> Result<(Digest, u64)> {
        let name = self.resolve(name)?;
        let wrong =
            |what: &str, (digest, size): (Digest, u64)| match (expected.digest, expected.size) {
                (_, Some(other)) if other != size => {
                    let what = format!("{name} in {what}");
                    Err(Error::SizeMismatch {
                        what,
                        expected: other,
                        actual: size,
                    })
                }
                (Some(other), _) if other != digest => Err(Error::digest_mismatch(
                    format!("{name} in {what}"),
                    other,
                    digest,
                )),
                _ => Ok(()),
            };
        if let Some(digest) = &expected.digest {
            self.only_sha256(&name, digest)?;
        }
        let (digest, size) = match self.files.remove(&name) {
            Some(File::Large(mut partial)) => {
                let found = (partial.digest()?, partial.length());
                wrong(&self.what, found)?;
                partial.commit(self.cache, hold, &Expected::default())?;
                found
            }
            Some(File::Small(bytes)) => {
                let found = (Digest::of(&bytes), bytes.len() as u64);
                wrong(&self.what, found)?;
                self.cache.put_blob(hold, &bytes)?;
                found
            }
            Some(File::Blob(digest, size)) => (digest, size),
            None => return Err(self.malformed(format!("{name} is missing"))),
        };
        self.files.insert(name.clone(), File::Blob(digest, size));
        wrong(&self.what, (digest, size))?;
        Ok((digest, size))
    }

    /// The provenance of the images.
    pub(super) fn provenance(&self) -> Provenance {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Provenance {
            url: self.what.clone(),
            fetched: now.as_secs(),
            verified: Verified::Unverified,
            version: None,
            served: None,
        }
    }
}
