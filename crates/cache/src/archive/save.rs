//! Saving images to an OCI archive.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::json;
use tar::{EntryType, Header};

use crate::archive::layout::CONTAINERD_NAME;
use crate::index::{Entry, INDEX, Index, MANIFEST};
use crate::{
    Cache, Digest, Error, Event, Image, Phase, Platform, Progress, Reference, Result, TaskId,
};

/// Bytes read from a blob at once.
const READ: usize = 128 * 1024;

impl Cache {
    /// Writes images as an OCI archive: a tar archive of an image layout that contains only these images, each under its reference.
    /// Images of one reference for several platforms are listed as one image index, of which every tool takes its own platform.
    /// `manifest.json` beside the layout is for docker. Blobs are verified while they are copied: after an error, the archive must
    /// be discarded. The same images give the same bytes. `name` is the archive's name in errors. The caller has a
    /// [`crate::Hold`].
    pub fn save(
        &self,
        images: &[Image],
        output: &mut dyn Write,
        name: &Path,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut index = Index::default();
        let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
        for image in images {
            for layer in &image.layers {
                blobs.insert(layer.digest, layer.size);
            }
            for digest in [image.config_digest, image.manifest_digest] {
                let path = self.layout().blob(&digest);
                let size = self
                    .has_blob(&digest)?
                    .ok_or_else(|| Error::missing_blob(digest, path))?;
                blobs.insert(digest, size);
            }
        }
        let mut lists = BTreeMap::new();
        for image in images {
            if index.named(&image.reference.key()).next().is_none() {
                let same = images.iter().filter(|i| i.reference == image.reference);
                let entries: Vec<Entry> =
                    same.map(|i| entry(i, blobs[&i.manifest_digest])).collect();
                index.manifests.push(listed(image, entries, &mut lists));
            }
        }
        let mut writer = Writer { output, name };
        writer.directory("blobs")?;
        writer.directory("blobs/sha256")?;
        let task = TaskId::next();
        let total = Some(blobs.values().sum());
        progress.event(Event::Started {
            task,
            phase: Phase::Save,
            name: &name.display().to_string(),
            total,
        });
        let mut done = 0;
        for (digest, size) in blobs {
            let mut blob = self.open_blob(&digest)?;
            writer.start(
                &format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex()),
                size,
            )?;
            let mut buffer = vec![0; READ];
            loop {
                let count = match blob.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(blob.failure(error)),
                };
                writer.write(&buffer[..count])?;
                done += count as u64;
                progress.event(Event::Advanced { task, bytes: done });
            }
            blob.finish()?;
            writer.pad(size)?;
        }
        for (digest, bytes) in lists {
            writer.document(&format!("blobs/sha256/{}", digest.hex()), &bytes)?;
        }
        writer.document("index.json", json!(index).to_string().as_bytes())?;
        writer.document("manifest.json", docker_document(images).as_bytes())?;
        writer.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        writer.write(&[0; 1024])?;
        let complete = true;
        progress.event(Event::Finished { task, complete });
        Ok(())
    }
}

/// The entry of a reference in the archive's index: that of its only image, or an image index of several, which is added to
/// `lists`.
fn listed(image: &Image, mut entries: Vec<Entry>, lists: &mut BTreeMap<Digest, Vec<u8>>) -> Entry {
    if entries.len() == 1 {
        let mut entry = entries.remove(0);
        name(&mut entry, &image.reference);
        return entry;
    }
    // Tools that take the first entry get the one for this machine.
    entries.sort_by_key(|entry| entry.platform().as_ref() != Some(&Platform::host()));
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    let bytes = list.to_string().into_bytes();
    let digest = Digest::of(&bytes);
    let mut entry = Entry::new(INDEX, &digest, bytes.len() as u64);
    name(&mut entry, &image.reference);
    lists.insert(digest, bytes);
    entry
}

/// Names an entry by a reference twice: as box, podman and skopeo read it, and as containerd and docker read it, which have no
/// names without a host.
fn name(entry: &mut Entry, reference: &Reference) {
    entry.name(reference);
    let notes = entry.annotations.get_or_insert_default();
    notes.insert(CONTAINERD_NAME.to_owned(), reference.in_full());
}

/// The document in which docker without containerd's store finds images, one per reference: the one for the platform that this
/// machine would run, if any.
fn docker_document(images: &[Image]) -> String {
    let host = Platform::host();
    let mut items: BTreeMap<String, &Image> = BTreeMap::new();
    for image in images {
        let rank = |image: &Image| host.accepts(&image.platform).unwrap_or(u32::MAX);
        let chosen = items.entry(image.reference.key()).or_insert(image);
        if rank(image) < rank(chosen) {
            *chosen = image;
        }
    }
    let blob = |digest: &Digest| format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex());
    let item = |image: &&Image| {
        let layers: Vec<String> = image
            .layers
            .iter()
            .map(|layer| blob(&layer.digest))
            .collect();
        let tag = image
            .reference
            .tag()
            .map(|_| image.reference.without_digest().in_full());
        json!({"Config": blob(&image.config_digest), "RepoTags": tag.into_iter().collect::<Vec<_>>(), "Layers": layers})
    };
    json!(items.values().map(item).collect::<Vec<_>>()).to_string()
}

/// The entry of an image in the archive, without its provenance, which a reader could not believe.
fn entry(image: &Image, size: u64) -> Entry {
    let mut entry = Entry::new(MANIFEST, &image.manifest_digest, size);
    entry.media_type.clone_from(&image.media_type);
    entry.platform = Some(json!(image.platform));
    entry
}

/// Writes tar entries whose headers depend on nothing but name and size.
struct Writer<'o> {
    output: &'o mut dyn Write,
    name: &'o Path,
}

impl Writer<'_> {
    fn directory(&mut self, name: &str) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        self.header(header, &format!("{name}/"), 0)
    }

    fn document(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.start(name, bytes.len() as u64)?;
        self.write(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn start(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        self.header(header, name, size)
    }

    fn header(&mut self, mut header: Header, name: &str, size: u64) -> Result<()> {
        header
            .set_path(name)
            .map_err(Error::io("name an entry of", self.name))?;
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    /// Pads the last record of a file.
    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = usize::try_from(size.wrapping_neg() % 512).unwrap_or(0);
        self.write(&[0; 512][..padding])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.output
            .write_all(bytes)
            .map_err(Error::io("write", self.name))
    }
}
