//! The images of an OCI layout in an archive, and what there is beside them that is none.

use std::collections::BTreeSet;

use crate::archive::load::{Contents, Decompress, LoadOptions};
use crate::image::{MAX_DOCUMENT, Manifest, read_config};
use crate::index::{Entry, Index, REF_NAME};
use crate::{
    DiffId, Digest, Error, Event, Expected, Hold, Image, Platform, Progress, Reference, Result,
};

/// So deep may indexes lie in indexes; real ones have two levels.
const MAX_DEPTH: usize = 8;

/// So many descriptors are looked at.
const MAX_DESCRIPTORS: usize = 20_000;

/// The annotation by which containerd and docker name images in layouts.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The annotation of what BuildKit puts beside images: attestations.
const DOCKER_REFERENCE: &str = "vnd.docker.reference.type";

/// A manifest that the index leads to.
struct Found {
    entry: Entry,
    /// Which entry of `index.json` led to it.
    top: usize,
    /// The indexes that led to it, outermost first.
    lists: Vec<Digest>,
}

/// What a manifest turned out to be.
enum Nature {
    Image,
    /// Not for running: an attestation, a signature, a chart. With its type.
    Artifact(String),
    /// An image of an index, of which the archive does not hold everything.
    Partial,
}

/// Where the search has been.
struct Search {
    found: Vec<Found>,
    seen: BTreeSet<(usize, String)>,
    descriptors: usize,
}

impl Contents<'_> {
    /// Lists the images of an OCI layout.
    pub(super) fn publish_layout(
        &mut self,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Image>> {
        let images = self.images()?;
        let mut named = match &options.name {
            Some(name) => self.all_named(images, name)?,
            None => self.each_named(images, progress)?,
        };
        for (found, name) in &mut named {
            *name = self.true_name(name, &found.entry)?;
        }
        let hold = self.cache.hold()?;
        let mut images = Vec::new();
        for (found, name) in &named {
            images.push(self.publish_image(&hold, &found.entry, name, options)?);
        }
        Ok(images)
    }

    /// What is an image among all that the index leads to.
    fn images(&self) -> Result<Vec<Found>> {
        let mut search = Search {
            found: Vec::new(),
            seen: BTreeSet::new(),
            descriptors: 0,
        };
        let index = self.parsed::<Index>("index.json", &self.document("index.json")?)?;
        for (top, entry) in index.manifests.into_iter().enumerate() {
            self.search(entry, top, &[], &mut search)?;
        }
        let (mut images, mut artifacts, mut partial) = (Vec::new(), Vec::new(), Vec::new());
        for found in search.found {
            match self.nature(&found)? {
                Nature::Image => images.push(found),
                Nature::Artifact(kind) => artifacts.push(kind),
                Nature::Partial => {
                    let platform = found.entry.platform();
                    partial.push(platform.map_or("unknown".to_owned(), |p| p.to_string()));
                }
            }
        }
        if !images.is_empty() {
            return Ok(images);
        }
        artifacts.sort();
        artifacts.dedup();
        Err(
            self.malformed(match (partial.is_empty(), artifacts.is_empty()) {
                (false, _) => format!(
                    "it has not everything of any image that its index lists ({})",
                    partial.join(", ")
                ),
                (true, false) => format!("there is no image in it, but {}", artifacts.join(", ")),
                (true, true) => "there is no image in it".to_owned(),
            }),
        )
    }

    /// Follows a descriptor to the manifests that it leads to.
    fn search(
        &self,
        entry: Entry,
        top: usize,
        lists: &[Digest],
        search: &mut Search,
    ) -> Result<()> {
        search.descriptors += 1;
        if search.descriptors > MAX_DESCRIPTORS {
            return Err(self.malformed(format!("it has more than {MAX_DESCRIPTORS} descriptors")));
        }
        if !search.seen.insert((top, entry.digest.clone())) {
            return Ok(());
        }
        if !entry.is_index() {
            if entry.is_manifest() {
                let lists = lists.to_vec();
                search.found.push(Found { entry, top, lists });
            }
            return Ok(());
        }
        // Of an index within an index the inner one may have been left out, as images may.
        if !lists.is_empty() && !self.has(&path(&entry)?) {
            return Ok(());
        }
        if lists.len() == MAX_DEPTH {
            return Err(self.malformed(format!("more than {MAX_DEPTH} indexes lie in each other")));
        }
        let bytes = self.verified(&entry)?;
        let list = self.parsed::<Index>(&path(&entry)?, &bytes)?;
        if list.is_manifest_too() {
            return Err(self.malformed(format!("{} is index and manifest at once", entry.digest)));
        }
        let mut lists = lists.to_vec();
        lists.push(entry.digest.parse()?);
        let name = [REF_NAME, CONTAINERD_NAME]
            .iter()
            .any(|key| entry.note(key).is_some());
        for mut inner in list.manifests {
            if name {
                let kind = inner.note(DOCKER_REFERENCE).map(str::to_owned);
                inner.annotations.clone_from(&entry.annotations);
                if let Some(kind) = kind {
                    let notes = inner.annotations.get_or_insert_default();
                    notes.insert(DOCKER_REFERENCE.to_owned(), kind);
                }
            }
            self.search(inner, top, &lists, search)?;
        }
        Ok(())
    }

    /// Whether a manifest is an image's, by all that containerd, BuildKit, ORAS and cosign mark others with.
    fn nature(&self, found: &Found) -> Result<Nature> {
        let entry = &found.entry;
        if let Some(kind) = entry.note(DOCKER_REFERENCE) {
            return Ok(Nature::Artifact(kind.to_owned()));
        }
        if entry
            .platform()
            .is_some_and(|platform| platform.is_unknown())
        {
            return Ok(Nature::Artifact("an attestation".to_owned()));
        }
        if let Some(kind) = entry
            .rest
            .get("artifactType")
            .and_then(|kind| kind.as_str())
            && !is_config(kind)
        {
            return Ok(Nature::Artifact(kind.to_owned()));
        }
        let listed = !found.lists.is_empty();
        if listed && !self.is_at_hand(&entry.digest.parse()?)? {
            return Ok(Nature::Partial);
        }
        let manifest = self.manifest(entry)?;
        if let Some(kind) = manifest.artifact() {
            return Ok(Nature::Artifact(kind));
        }
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if listed && !self.is_at_hand(&blob.digest)? {
                return Ok(Nature::Partial);
            }
        }
        Ok(Nature::Image)
    }

    /// Gives all images one name, if they are those of one image's platforms.
    fn all_named(&self, images: Vec<Found>, name: &Reference) -> Result<Vec<(Found, Reference)>> {
        let first = (images[0].top, images[0].entry.tagged());
        let one = |found: &Found| {
            found.top == first.0 || (first.1.is_some() && found.entry.tagged() == first.1)
        };
        match images.iter().all(one) {
            true => Ok(images
                .into_iter()
                .map(|found| (found, name.clone()))
                .collect()),
            false => Err(self.malformed(format!(
                "it holds several images, which cannot all be {name}"
            ))),
        }
    }

    /// Gives each image the name that the archive has for it. Those without one are left out, where there are others.
    fn each_named(
        &self,
        images: Vec<Found>,
        progress: &dyn Progress,
    ) -> Result<Vec<(Found, Reference)>> {
        let mut named = Vec::new();
        let mut nameless = 0;
        for found in images {
            match self.name_of(&found)? {
                Some(name) => named.push((found, name)),
                None => nameless += 1,
            }
        }
        self.note_nameless(named.is_empty(), nameless, progress)?;
        Ok(named)
    }

    /// What the archive calls an image. Of the two annotations the first that is a whole name counts: docker and containerd
    /// leave the bare tag to `ref.name`, podman and skopeo write all of it there.
    fn name_of(&self, found: &Found) -> Result<Option<Reference>> {
        let entry = &found.entry;
        let whole = |name: &&str| name.contains(['/', ':', '@']);
        let own = entry
            .note(REF_NAME)
            .filter(whole)
            .and_then(|_| entry.reference());
        let theirs = || {
            entry
                .note(CONTAINERD_NAME)
                .and_then(|name| name.parse::<Reference>().ok())
        };
        let theirs = || theirs().map(|name| name.as_docker_means());
        let name = own.or_else(theirs).or_else(|| entry.reference());
        let Some(name) = name else {
            return match entry.note(CONTAINERD_NAME).or(entry.note(REF_NAME)) {
                Some(name) => {
                    Err(self.malformed(format!("the name of its image, {name:?}, is no reference")))
                }
                None => Ok(None),
            };
        };
        // The digest of a list of platforms is that of none of them; it was compared with the list's bytes.
        match name
            .digest()
            .is_some_and(|digest| found.lists.contains(digest))
        {
            true => Ok(Some(name.with_digest(entry.digest.parse()?))),
            false => Ok(Some(name)),
        }
    }

    /// See [`Contents::with_own_digest`].
    fn true_name(&self, name: &Reference, entry: &Entry) -> Result<Reference> {
        let manifest = self.manifest(entry)?;
        let layers: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest).collect();
        self.with_own_digest(name, &entry.digest.parse()?, &layers)
    }

    fn publish_image(
        &mut self,
        hold: &Hold,
        entry: &Entry,
        name: &Reference,
        options: &LoadOptions,
    ) -> Result<Image> {
        let digest: Digest = entry.digest.parse()?;
        let manifest = self.manifest(entry)?;
        let expected = Expected {
            digest: Some(digest),
            size: Some(entry.size),
        };
        if self.has(&path(entry)?) {
            self.commit(hold, &path(entry)?, &expected)?;
        }
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let expected = Expected {
                digest: Some(blob.digest),
                size: Some(blob.size),
            };
            let file = path_of(&blob.digest);
            // Archives may leave out what the cache has already.
            if self.has(&file) || self.cache.has_blob(&blob.digest)?.is_none() {
                self.commit(hold, &file, &expected)?;
            }
        }
        if let Some(decompress) = options.decompress {
            self.compare_layers(&manifest, decompress)?;
        }
        // Nothing else of the descriptor: what an archive says of an image's origin is not believed.
        let mut listed = Entry::new(&entry.media_type, &digest, entry.size);
        listed.platform.clone_from(&entry.platform);
        let provenance = self.provenance();
        self.cache.publish_entry(hold, name, listed, &provenance)
    }

    /// Compares each layer, a blob of the cache by now, with what the config calls its content: trees are kept by that name, and by a false one the image would
    /// have the files of another image, secret ones too.
    fn compare_layers(&self, manifest: &Manifest, decompress: Decompress) -> Result<()> {
        let config = &manifest.config;
        let bytes = self
            .cache
            .read_blob(&config.digest, config.size, MAX_DOCUMENT)?;
        // What is wrong with the config itself is said where the image is listed.
        let Ok((config, _)) = read_config(&bytes, None) else {
            return Ok(());
        };
        for (layer, diff_id) in manifest.layers.iter().zip(config.rootfs().diff_ids()) {
            let Ok(diff_id) = diff_id.parse::<DiffId>() else {
                return Ok(());
            };
            if diff_id.0 == layer.digest {
                continue;
            }
            let file = path_of(&layer.digest);
            let mut from = self.cache.open_blob(&layer.digest)?;
            self.compare_content(&mut from, &file, &diff_id, decompress)?;
        }
        Ok(())
    }

    /// The manifest that a descriptor leads to.
    fn manifest(&self, entry: &Entry) -> Result<Manifest> {
        let bytes = self.verified(entry)?;
        let malformed = |reason: String| {
            self.malformed(format!("malformed manifest {}: {reason}", entry.digest))
        };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        match manifest.fault(&entry.media_type) {
            None => Ok(manifest),
            Some(fault) => Err(malformed(fault)),
        }
    }

    /// The bytes of a document, compared with the descriptor that leads to it.
    fn verified(&self, entry: &Entry) -> Result<Vec<u8>> {
        let digest: Digest = entry.digest.parse()?;
        let file = path_of(&digest);
        self.only_sha256(&file, &digest)?;
        if !self.has(&file) && self.cache.has_blob(&digest)?.is_some() {
            return self.cache.read_blob(&digest, entry.size, MAX_DOCUMENT);
        }
        let bytes = self.document(&file)?;
        let what = self.place(&file);
        if bytes.len() as u64 != entry.size {
            return Err(Error::SizeMismatch {
                what,
                expected: entry.size,
                actual: bytes.len() as u64,
            });
        }
        let actual = Digest::of(&bytes);
        match actual == digest {
            true => Ok(bytes),
            false => Err(Error::digest_mismatch(what, digest, actual)),
        }
    }

    /// Whether a blob is in the archive, or in the cache.
    fn is_at_hand(&self, digest: &Digest) -> Result<bool> {
        Ok(self.has(&path_of(digest)) || self.cache.has_blob(digest)?.is_some())
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.malformed(format!("malformed {name}: {error}")))
    }
}

impl Contents<'_> {
    /// Says that images without a name are left out, or fails where there are no others.
    pub(super) fn note_nameless(
        &self,
        all: bool,
        count: usize,
        progress: &dyn Progress,
    ) -> Result<()> {
        if all {
            return Err(self.nameless());
        }
        if count > 0 {
            progress.event(Event::Note {
                text: &format!("{count} images without a name are left out"),
            });
        }
        Ok(())
    }

    /// The name that an image gets. One with a digest that is neither the manifest's nor that of the only layer is refused: an
    /// archive's word decides no digest. That of the layer, by which box lists releases, gives way to the manifest's: what is
    /// executed of that layer is the archive's word, too.
    pub(super) fn with_own_digest(
        &self,
        name: &Reference,
        manifest: &Digest,
        layers: &[Digest],
    ) -> Result<Reference> {
        match name.digest() {
            None => Ok(name.clone()),
            Some(digest) if digest == manifest => Ok(name.clone()),
            Some(digest) if layers == [*digest] => Ok(name.with_digest(*manifest)),
            Some(_) => Err(self.malformed(format!(
                "its image is to be called {name}, but has the digest {manifest}"
            ))),
        }
    }
}

impl Manifest {
    /// The type of what is no image: by its config, or by a layer that is no archive of files.
    fn artifact(&self) -> Option<String> {
        let config = self.config.media_type.as_str();
        if !is_config(config) {
            return Some(
                self.artifact_type
                    .clone()
                    .unwrap_or_else(|| config.to_owned()),
            );
        }
        if let Some(kind) = self
            .artifact_type
            .as_deref()
            .filter(|kind| !is_config(kind))
        {
            return Some(kind.to_owned());
        }
        let layers = &mut self.layers.iter().map(|layer| layer.media_type.as_str());
        layers.find(|kind| !is_layer(kind)).map(str::to_owned)
    }
}

impl Platform {
    /// Whether it is what attestations have.
    pub(crate) fn is_unknown(&self) -> bool {
        self.os() == "unknown" || self.architecture() == "unknown"
    }
}

/// Whether a media type is that of an image's config.
fn is_config(kind: &str) -> bool {
    matches!(
        kind,
        "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json"
    )
}

/// Whether a media type is that of a layer of files, however it is packed.
fn is_layer(kind: &str) -> bool {
    kind.starts_with("application/vnd.oci.image.layer.")
        || kind.starts_with("application/vnd.docker.image.rootfs.")
}

/// Where a descriptor's blob lies in an image layout.
fn path(entry: &Entry) -> Result<String> {
    Ok(path_of(&entry.digest.parse()?))
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}
