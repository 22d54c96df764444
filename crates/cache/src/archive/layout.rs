//! Image archives that are OCI layouts: which of the manifests are images, and what they are called.

use std::collections::BTreeSet;

use crate::archive::load::{Contents, Decompress, LoadOptions};
use crate::image::{MAX_DOCUMENT, Manifest, read_config};
use crate::index::{Entry, Index, REF_NAME};
use crate::{
    DiffId, Digest, Error, Event, Expected, Hold, Image, Platform, Progress, Reference, Result,
};

/// The deepest nesting of indexes. Real ones have two levels.
const MAX_DEPTH: usize = 8;

/// The most descriptors that are read.
const MAX_DESCRIPTORS: usize = 20_000;

/// The annotation by which containerd and docker name images in layouts.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The annotation of attestations, which BuildKit puts beside images.
const DOCKER_REFERENCE: &str = "vnd.docker.reference.type";

/// A manifest that the index leads to.
struct Found {
    entry: Entry,
    /// The number of the entry in `index.json` that led to it.
    top: usize,
    /// The indexes that led to it, outermost first.
    lists: Vec<Digest>,
}

/// The type of a manifest.
enum Nature {
    Image,
    /// Something else, with its type: an attestation, a signature, a chart.
    Artifact(String),
    /// An image in an index that the archive does not contain completely.
    Partial,
}

/// The state of the search for manifests.
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

    /// All manifests that are images.
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
                    "it does not contain any image of its index completely ({})",
                    partial.join(", ")
                ),
                (true, false) => format!("it contains no image, but {}", artifacts.join(", ")),
                (true, true) => "it contains no image".to_owned(),
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
        // An inner index may have been left out, just like images.
        if !lists.is_empty() && !self.has(&path(&entry)?) {
            return Ok(());
        }
        if lists.len() == MAX_DEPTH {
            return Err(self.malformed(format!("more than {MAX_DEPTH} indexes are nested")));
        }
        let bytes = self.verified(&entry)?;
        let list = self.parsed::<Index>(&path(&entry)?, &bytes)?;
        if list.is_manifest_too() {
            return Err(self.malformed(format!("{} is both index and manifest", entry.digest)));
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

    /// Whether a manifest is an image, judged by all marks that containerd, BuildKit, ORAS and cosign give to others.
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

    /// Gives all images one name, if they are the platforms of one image.
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
                "it contains several images, which cannot all be {name}"
            ))),
        }
    }

    /// Gives each image its name in the archive. Images without a name are left out if others have one.
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

    /// The name of an image in the archive. The first of the two annotations that is a complete name counts: docker and containerd put
    /// only the tag into `ref.name`, podman and skopeo the complete name.
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
                Some(name) => Err(self.malformed(format!(
                    "the name of its image, {name:?}, is not a reference"
                ))),
                None => Ok(None),
            };
        };
        // The digest of an index is not that of any of its images. It was compared with the bytes of the index.
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
            // An archive may leave out blobs that the cache has.
            if self.has(&file) || self.cache.has_blob(&blob.digest)?.is_none() {
                self.commit(hold, &file, &expected)?;
            }
        }
        if let Some(decompress) = options.decompress {
            self.compare_layers(&manifest, decompress)?;
        }
        // Nothing else is taken from the descriptor: an archive's claims about an image's origin are not believed.
        let mut listed = Entry::new(&entry.media_type, &digest, entry.size);
        listed.platform.clone_from(&entry.platform);
        let provenance = self.provenance();
        self.cache.publish_entry(hold, name, listed, &provenance)
    }

    /// Compares the content of each layer, which is a blob of the cache by now, with its digest in the config. Trees are stored under
    /// that digest: with a false one, the image would get the files of another image, including secret ones.
    fn compare_layers(&self, manifest: &Manifest, decompress: Decompress) -> Result<()> {
        let config = &manifest.config;
        let bytes = self
            .cache
            .read_blob(&config.digest, config.size, MAX_DOCUMENT)?;
        // Errors of the config itself are reported when the image is listed.
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

    /// The manifest of a descriptor.
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

    /// The bytes of a document, compared with its descriptor.
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
    /// Notes that images without a name are left out, or fails if there are no others.
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

    /// The name under which an image is listed. A name with a digest that is neither the manifest's nor the only layer's is refused:
    /// an archive cannot choose its digests. The layer's digest, by which box lists releases, is replaced by the manifest's: what is
    /// executed in that layer is the archive's choice as well.
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
                "its image is named {name}, but has the digest {manifest}"
            ))),
        }
    }
}

impl Manifest {
    /// The type of a manifest that is not an image, known by its config or by a layer that is not an archive of files.
    pub(crate) fn artifact(&self) -> Option<String> {
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
    /// Whether it is the platform of attestations.
    pub fn is_unknown(&self) -> bool {
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

/// Whether a media type is that of a layer of files, compressed or not.
fn is_layer(kind: &str) -> bool {
    kind.starts_with("application/vnd.oci.image.layer.")
        || kind.starts_with("application/vnd.docker.image.rootfs.")
}

/// The path of a descriptor's blob in an image layout.
fn path(entry: &Entry) -> Result<String> {
    Ok(path_of(&entry.digest.parse()?))
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}
