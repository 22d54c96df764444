//! An image on its way into the cache with as few waits for the disk as can be.
//!
//! Each wait costs about the same, however much there is to write, and a small image is fetched in less time than three
//! of them take. So nothing waits alone. The order, and why a kill or a power cut between any two steps harms nothing:
//!
//! 1. Config, manifest and the file that marks a layout are written aside; the download lies aside anyway. All of these
//!    are in `partial/`, where nobody takes them for anything.
//! 2. All of them are brought to the disk: by one syncfs(2), which the layers' trees need at the same time, or each by
//!    fsync(2) where the trees are on another file system, or there are none.
//! 3. The layer's tree and they get their names, each by one rename(2). A blob's name is thus never there without its bytes. What is named and
//!    not listed is garbage, which the next pull uses or the collector deletes; it cannot come in between, as there is
//!    a [`Hold`].
//! 4. The new index is written aside and brought to the disk, then the directories of those names are. On file systems
//!    with a journal the first of these waits takes the rest along.
//! 5. The index is renamed and its directory brought to the disk: only now can anybody find the image, and all that it
//!    leads to has been on the disk before.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::blob::partial::Whole;
use crate::blob::staging::StagedFile;
use crate::image::publish::{CONFIG, NewImage, config_of, manifest_of};
use crate::index::Entry;
use crate::{Cache, Error, Hold, Image, Layer, Result};

/// An image whose files are complete and have no names yet. Dropped, it leaves nothing but the download.
#[must_use = "the image is not in the cache before `publish`"]
pub struct StagedImage<'h> {
    cache: Cache,
    hold: &'h Hold,
    image: NewImage,
    manifest: Entry,
    files: Vec<(StagedFile<'h>, PathBuf)>,
    download: Option<Whole>,
    marks: bool,
}

/// A file system that was brought to the disk as a whole, with what lies beside the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The number of its device (`st_dev`, see inode(7)).
    pub device: u64,
    /// A directory whose names are new since then. It is brought to the disk when that costs least.
    pub directory: PathBuf,
}

impl Cache {
    /// Writes an image aside whose layers are in the cache, all but the one that is `download`.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] where a layer is neither.
    pub fn stage<'h>(
        &self,
        hold: &'h Hold,
        image: NewImage,
        download: Option<Whole>,
    ) -> Result<StagedImage<'h>> {
        let comes = |layer: &Layer| {
            let whole = download.as_ref();
            whole.is_some_and(|w| *w.digest() == layer.digest && w.size() == layer.size)
        };
        for layer in image.layers.iter().filter(|layer| !comes(layer)) {
            self.require_layer(layer)?;
        }
        let mut files = Vec::new();
        let config = self.stage_document(hold, "image config", &config_of(&image), &mut files)?;
        let manifest = manifest_of(&image.layers, &config);
        let manifest = self.stage_document(hold, "manifest", &manifest, &mut files)?;
        let marker = self.stage_marker(hold)?;
        let marks = marker.is_some();
        files.extend(marker.map(|file| (file, self.layout().marker())));
        Ok(StagedImage {
            cache: self.clone(),
            hold,
            image,
            manifest,
            files,
            download,
            marks,
        })
    }
}

impl StagedImage<'_> {
    /// Names the image's files and lists it. When this returns, it survives a power cut; fails it or is it killed, the cache
    /// lists what it listed before. `synced` is what the caller brought to the disk since the image was staged.
    pub fn publish(mut self, synced: Option<Synced>) -> Result<Image> {
        self.sync(synced.as_ref())?;
        for (file, name) in std::mem::take(&mut self.files) {
            file.name(&name)?;
        }
        if let Some(download) = self.download.take() {
            download.name(&self.cache, self.hold)?;
        }
        let (reference, platform) = (&self.image.reference, &self.image.platform);
        let mut directories = self.cache.directories(self.marks);
        directories.extend(synced.map(|synced| synced.directory));
        self.cache.list(
            self.hold,
            reference,
            platform,
            &self.manifest,
            &self.image.provenance,
            &directories,
        )
    }

    fn sync(&self, synced: Option<&Synced>) -> Result<()> {
        // Files are on their directory's file system: nothing is mounted on a file here.
        let directory = self.cache.layout().partial();
        let device = std::fs::metadata(&directory)
            .map_err(Error::io("look up", &directory))?
            .dev();
        if synced.is_some_and(|synced| synced.device == device) {
            return Ok(());
        }
        for (file, _) in &self.files {
            file.sync()?;
        }
        self.download.as_ref().map_or(Ok(()), Whole::sync)
    }
}

/// The media type by which a document stands in what refers to it.
pub(crate) fn media_type_of(what: &str) -> &'static str {
    match what {
        "manifest" => crate::index::MANIFEST,
        _ => CONFIG,
    }
}
