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
use crate::index::Entry;
use crate::{Cache, Error, Hold, Image, Layer, Result};

/// An image whose files are complete but not named yet. When dropped, it leaves nothing but the download.
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

/// A file system that was synced as a whole, for the layer trees beside the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The number of its device (`st_dev`, see inode(7)).
    pub device: u64,
    /// A directory with new names. It is synced when that costs least.
    pub directory: PathBuf,
}

impl Cache {
    /// Writes an image aside. Its layers are in the cache, except the one that is `download`.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] for a layer that is neither.
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
    /// Names the image's files and lists it. When this returns, the image survives a power cut. If it fails or is killed, the index is
    /// unchanged. `synced` is the file system that the caller has synced since the image was staged.
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
        // A file is on its directory's file system: nothing is mounted on files here.
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

/// The media type of a document in its descriptor.
pub(crate) fn media_type_of(what: &str) -> &'static str {
    match what {
        "manifest" => crate::index::MANIFEST,
        _ => CONFIG,
    }
}
