//! An image on its way into the cache, with as few waits for the disk as possible.
//!
//! Each wait costs about the same, however much there is to write, and fetching a small image takes less time than three waits. So
//! nothing waits alone. The steps, and why a kill or a power cut between any two of them does no harm:
//!
//! 1. Config, manifest and the layout's marker are written aside, beside the download. All of them are in `partial/`, where nothing
//!    looks for them.
//! 2. All of them are synced: by one syncfs(2), which the layer trees need too, or each by fsync(2) if the trees are on another
//!    file system, or if there are none.
//! 3. The layer's tree and the files are renamed. So a blob's name never exists without its bytes. A file that is named but not
//!    listed is garbage, which the next pull uses or the collector deletes. The collector cannot run in between, as there is a
//!    [`Hold`].
//! 4. The new index is written aside and synced, then the directories of the new names are synced. On file systems with a journal
//!    the first of these waits covers the others.
//! 5. The index is renamed and its directory synced. Only now can the image be found, and everything that it needs is on the disk
//!    already.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::blob::partial::Whole;
use crate::blob::staging::StagedFile;
use crate::image::publish::{CONFIG, NewImage, config_of, manifest_of};
use crate::image::served::ServedImage;
use crate::index::Entry;
use crate::{Cache, Digest, Error, Hold, Image, Layer, Platform, Provenance, Reference, Result};

/// How many files are synced one by one. The files of an image of one layer are fewer: it does not have to wait for whatever else is
/// being written to the file system.
const FEW: usize = 5;

/// An image whose files are complete but not named yet. When dropped, it leaves nothing but the downloads.
#[must_use = "the image is not in the cache before `publish`"]
pub struct StagedImage<'h> {
    cache: Cache,
    hold: &'h Hold,
    reference: Reference,
    platform: Platform,
    provenance: Provenance,
    manifest: Entry,
    files: Vec<(StagedFile<'h>, PathBuf)>,
    downloads: Vec<Whole>,
    marks: bool,
}

/// A file system that was synced as a whole, for the layer trees beside the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The number of its device (`st_dev`, see inode(7)).
    pub device: u64,
    /// A directory with new names. It is synced when that costs least.
    pub directory: PathBuf,
}

impl Cache {
    /// Writes an image aside. Its layers are in the cache, except those that are `downloads`.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] for a layer that is neither.
    pub fn stage<'h>(
        &self,
        hold: &'h Hold,
        image: NewImage,
        downloads: Vec<Whole>,
    ) -> Result<StagedImage<'h>> {
        self.require_layers(&image.layers, &downloads)?;
        let mut files = Vec::new();
        let config = self.stage_document(hold, "image config", &config_of(&image), &mut files)?;
        let manifest = manifest_of(&image.layers, &config);
        let manifest = self.stage_document(hold, "manifest", &manifest, &mut files)?;
        self.staged(
            hold,
            (image.reference, image.platform, image.provenance),
            manifest,
            files,
            downloads,
        )
    }

    /// Writes an image aside whose documents stay as a registry serves them. Its layers are in the cache, except those that are
    /// `downloads`.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] for a layer that is neither, [`Error::Document`] if the documents do not fit together.
    pub fn stage_served<'h>(
        &self,
        hold: &'h Hold,
        image: ServedImage,
        downloads: Vec<Whole>,
    ) -> Result<StagedImage<'h>> {
        let parts = image.parts()?;
        self.require_layers(&parts.layers, &downloads)?;
        let mut files = Vec::new();
        for bytes in image.documents() {
            let digest = Digest::of(bytes);
            let staged = self.stage_blob(hold, &digest, bytes)?;
            files.extend(staged.map(|file| (file, self.layout().blob(&digest))));
        }
        self.staged(
            hold,
            (image.reference.clone(), parts.platform, image.noted()),
            parts.manifest,
            files,
            downloads,
        )
    }

    fn staged<'h>(
        &self,
        hold: &'h Hold,
        (reference, platform, provenance): (Reference, Platform, Provenance),
        manifest: Entry,
        mut files: Vec<(StagedFile<'h>, PathBuf)>,
        downloads: Vec<Whole>,
    ) -> Result<StagedImage<'h>> {
        let marker = self.stage_marker(hold)?;
        let marks = marker.is_some();
        files.extend(marker.map(|file| (file, self.layout().marker())));
        Ok(StagedImage {
            cache: self.clone(),
            hold,
            reference,
            platform,
            provenance,
            manifest,
            files,
            downloads,
            marks,
        })
    }

    fn require_layers(&self, layers: &[Layer], downloads: &[Whole]) -> Result<()> {
        let comes = |layer: &Layer| {
            let mut wholes = downloads.iter();
            wholes.any(|w| *w.digest() == layer.digest && w.size() == layer.size)
        };
        let mut there = layers.iter().filter(|layer| !comes(layer));
        there.try_for_each(|layer| self.require_layer(layer))
    }

    /// Names several downloads as blobs at once, with one wait for the disk. The names are synced when an image that needs them is
    /// published.
    pub fn keep(&self, hold: &Hold, downloads: Vec<Whole>) -> Result<()> {
        self.sync_all(downloads.len(), &mut downloads.iter().map(Whole::sync))?;
        for download in downloads {
            download.name(self, hold)?;
        }
        Ok(())
    }

    /// Syncs `count` files of `partial/`: each alone, or the whole file system where that costs less.
    fn sync_all(&self, count: usize, each: &mut dyn Iterator<Item = Result<()>>) -> Result<()> {
        if count <= FEW {
            return each.collect();
        }
        let directory = self.layout().partial();
        let file = std::fs::File::open(&directory).map_err(Error::io("open", &directory))?;
        let synced = rustix::fs::syncfs(&file).map_err(std::io::Error::from);
        synced.map_err(Error::io("sync", &directory))
    }
}

impl StagedImage<'_> {
    /// Names the image's files and lists it. When this returns, the image survives a power cut. If it fails or is killed, the index is
    /// unchanged. `synced` is the file system that the caller has synced since the image was staged.
    pub fn publish(mut self, synced: Option<Synced>) -> Result<Image> {
        self.sync(synced.as_ref())?;
        for (file, name) in std::mem::take(&mut self.files) {
            file.name(&name)?;
        }
        for download in std::mem::take(&mut self.downloads) {
            download.name(&self.cache, self.hold)?;
        }
        let mut directories = self.cache.directories(self.marks);
        directories.extend(synced.map(|synced| synced.directory));
        self.cache.list(
            self.hold,
            &self.reference,
            &self.platform,
            &self.manifest,
            &self.provenance,
            &directories,
        )
    }

    fn sync(&self, synced: Option<&Synced>) -> Result<()> {
        // A file is on its directory's file system: nothing is mounted on files here.
        let directory = self.cache.layout().partial();
        let device = std::fs::metadata(&directory)
            .map_err(Error::io("look up", &directory))?
            .dev();
        if synced.is_some_and(|synced| synced.device == device) {
            return Ok(());
        }
        let files = self.files.iter().map(|(file, _)| file.sync());
        let downloads = self.downloads.iter().map(Whole::sync);
        let count = self.files.len() + self.downloads.len();
        self.cache.sync_all(count, &mut files.chain(downloads))
    }
}

/// The media type of a document in its descriptor.
pub(crate) fn media_type_of(what: &str) -> &'static str {
    match what {
        "manifest" => crate::index::MANIFEST,
        _ => CONFIG,
    }
}
