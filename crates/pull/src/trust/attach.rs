//! Putting a signature beside an image in a registry.

use std::fs::File;
use std::io::Write;

use box_cache::{Digest, Reference};
use box_registry::{BlobFile, Document, Repository, Wanted};
use rustix::fs::{MemfdFlags, memfd_create};

use super::SigningKey;
use super::signing::{MANIFEST, tag};
use crate::error::{Error, Result};

impl SigningKey {
    /// Signs what was pushed as `name` and has this digest, in the place where cosign looks for it. Signatures by others stay.
    ///
    /// # Errors
    /// The registry does not take it, or what it has there is no manifest of signatures.
    pub fn attach(
        &self,
        repository: &Repository<'_>,
        name: &Reference,
        digest: &Digest,
    ) -> Result<()> {
        let tag = tag(digest);
        let existing = match repository.manifest(Wanted::Tag(&tag)) {
            Ok(document) => Some(document.bytes),
            Err(box_registry::Error::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let signed = self.sign(name, digest, existing.as_deref());
        let signed = signed.map_err(|why| Error::Sign {
            what: format!("{}@{digest}", name.name()),
            why,
        })?;
        for blob in &signed.blobs {
            let file = in_memory(blob)?;
            let file = BlobFile::new(Digest::of(blob), blob.len() as u64, &file);
            repository.upload(&file, &[])?;
        }
        let document = Document {
            digest: Digest::of(&signed.manifest),
            media_type: MANIFEST.to_owned(),
            bytes: signed.manifest,
        };
        Ok(repository.put_manifest(Wanted::Tag(&signed.tag), &document)?)
    }
}

fn in_memory(bytes: &[u8]) -> Result<File> {
    let path = std::path::Path::new("memory");
    let file = memfd_create("box-signature", MemfdFlags::CLOEXEC);
    let mut file = File::from(file.map_err(|errno| Error::io("create", path)(errno.into()))?);
    file.write_all(bytes).map_err(Error::io("write", path))?;
    Ok(file)
}
