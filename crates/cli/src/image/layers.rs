//! Unpacking blobs of the cache to layer trees, and connecting pulls with unpacking: a layer is unpacked while it arrives.

use std::io::{self, Read, Write};
use std::sync::Mutex;

use box_cache::{Cache, DiffId, Event, Hasher, Image, Layer, Phase, Progress, Synced, TaskId};
use box_pull::{BoxError, LayerSink, LayerWriter, StagedLayer};
use box_unpack::{Buffers, Decoder, LayerStore, Layers, Limits};

use crate::bars::Bars;
use crate::report::Failure;
use crate::settings::{Settings, is_root};

/// Why a layer has no tree.
pub enum Error {
    /// Its blob cannot be read.
    Cache(box_cache::Error),
    /// Its blob cannot be unpacked.
    Unpack(box_unpack::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Cache(error) => error.into(),
            Error::Unpack(error) => error.into(),
        }
    }
}

/// The layers of an image, unpacked. Missing ones are made from their blobs. An image without layers (`FROM scratch` and no
/// files) gets an empty one. `bars` is called only if there is progress to show.
pub fn trees(
    settings: &Settings,
    cache: &Cache,
    image: &Image,
    bars: impl Fn() -> Bars,
) -> Result<Layers, Error> {
    let store = LayerStore::open(&settings.dirs.layers);
    if image.layers.is_empty() {
        return store.empty().map_err(Error::Unpack);
    }
    let missing: Vec<&Layer> = image
        .layers
        .iter()
        .filter(|layer| store.get(&layer.diff_id).is_none())
        .collect();
    if !missing.is_empty() {
        make(&store, cache, image, &missing, &bars())?;
    }
    let ids: Vec<DiffId> = image.layers.iter().map(|layer| layer.diff_id).collect();
    store.layers(&ids).map_err(Error::Unpack)
}

/// Makes the trees of several layers at once.
fn make(
    store: &LayerStore,
    cache: &Cache,
    image: &Image,
    missing: &[&Layer],
    progress: &Bars,
) -> Result<(), Error> {
    let name = image.reference.to_string();
    // The caller handles damaged blobs, so their errors must not become plain I/O errors.
    let damage = Mutex::new(None);
    let blob = |id: &DiffId| {
        let layer = missing.iter().find(|layer| layer.diff_id == *id);
        let layer = layer.ok_or(io::ErrorKind::NotFound)?;
        open(cache, layer, &name, progress).map_err(|error| {
            let text = "the layer's blob cannot be opened";
            if let (Error::Cache(error), Ok(mut damage)) = (error, damage.lock()) {
                damage.get_or_insert(error);
            }
            io::Error::other(text)
        })
    };
    let ids: Vec<DiffId> = missing.iter().map(|layer| layer.diff_id).collect();
    let made = store.unpack_all(&ids, blob, &Limits::default());
    match damage.into_inner() {
        Ok(Some(error)) => Err(Error::Cache(error)),
        _ => made.map_err(Error::Unpack),
    }
}

/// Opens a blob, with progress events while it is read.
pub fn open<'a>(
    cache: &Cache,
    layer: &Layer,
    name: &str,
    progress: &'a dyn Progress,
) -> Result<Watched<'a, impl Read + use<>>, Error> {
    let blob = cache.open_blob(&layer.digest).map_err(Error::Cache)?;
    Ok(Watched::new(blob, name, layer.size, progress))
}

/// A reader that reports its progress.
pub struct Watched<'a, R> {
    inner: R,
    task: TaskId,
    bytes: u64,
    /// The end was read.
    complete: bool,
    progress: &'a dyn Progress,
}

impl<'a, R> Watched<'a, R> {
    fn new(inner: R, name: &str, total: u64, progress: &'a dyn Progress) -> Watched<'a, R> {
        let task = TaskId::next();
        progress.event(Event::Started {
            task,
            phase: Phase::Unpack,
            name,
            total: Some(total),
        });
        Watched {
            inner,
            task,
            bytes: 0,
            complete: false,
            progress,
        }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        self.complete |= count == 0 && !buffer.is_empty();
        self.progress.event(Event::Advanced {
            task: self.task,
            bytes: self.bytes,
        });
        Ok(count)
    }
}

impl<R> Drop for Watched<'_, R> {
    fn drop(&mut self) {
        let (task, complete) = (self.task, self.complete);
        self.progress.event(Event::Finished { task, complete });
    }
}

/// The sink for a pull's layers. As root they go into the layer store. Otherwise they are only hashed, since only root can create
/// a tree with its owners and device nodes.
pub fn sink(settings: &Settings) -> Box<dyn LayerSink> {
    match is_root() {
        true => {
            // Before the HTTP client starts threads.
            box_unpack::reserve_descriptors();
            Box::new(TreeSink(LayerStore::open(&settings.dirs.layers)))
        }
        false => hashing_sink(),
    }
}

/// A sink that only hashes.
pub fn hashing_sink() -> Box<dyn LayerSink> {
    Box::new(DigestSink)
}

struct TreeSink(LayerStore);

impl LayerSink for TreeSink {
    fn layer(&self, expected: Option<&DiffId>) -> io::Result<Box<dyn LayerWriter>> {
        let writer = self.0.writer_of(expected, Limits::default());
        let writer = writer.map_err(io::Error::other)?;
        Ok(Box::new(TreeWriter(writer)))
    }
}

struct TreeWriter(box_unpack::LayerWriter);

impl Write for TreeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl LayerWriter for TreeWriter {
    fn finish(self: Box<Self>) -> Result<Box<dyn StagedLayer>, BoxError> {
        Ok(Box::new(StagedTree(self.0.finish()?)))
    }
}

struct StagedTree(box_unpack::StagedTree);

impl StagedLayer for StagedTree {
    fn diff_id(&self) -> &DiffId {
        self.0.diff_id()
    }

    fn sync(&mut self) -> Result<Option<Synced>, BoxError> {
        Ok(Some(self.0.sync()?))
    }

    fn publish(self: Box<Self>) -> Result<(), BoxError> {
        self.0.publish()?;
        Ok(())
    }
}

/// Decodes a layer only to compute its [`DiffId`].
struct DigestSink;

impl LayerSink for DigestSink {
    fn layer(&self, _: Option<&DiffId>) -> io::Result<Box<dyn LayerWriter>> {
        Ok(Box::new(DigestWriter {
            decoder: Decoder::new(Limits::default()),
            hash: Hash {
                hasher: Hasher::sha256(),
                buffer: vec![0; 64 << 10],
            },
        }))
    }
}

struct DigestWriter {
    decoder: Decoder,
    hash: Hash,
}

impl Write for DigestWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let decoded = self.decoder.write(bytes, &mut self.hash);
        decoded.map_err(|problem| io::Error::other(problem.to_string()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LayerWriter for DigestWriter {
    fn finish(mut self: Box<Self>) -> Result<Box<dyn StagedLayer>, BoxError> {
        self.decoder
            .finish(&mut self.hash)
            .map_err(|problem| problem.to_string())?;
        Ok(Box::new(DigestOnly(DiffId(self.hash.hasher.finish()))))
    }
}

/// Hashes decoded bytes through one buffer.
struct Hash {
    hasher: Hasher,
    buffer: Vec<u8>,
}

impl Buffers for Hash {
    fn spare(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn filled(&mut self, count: usize) {
        self.hasher.update(&self.buffer[..count]);
    }
}

struct DigestOnly(DiffId);

impl StagedLayer for DigestOnly {
    fn diff_id(&self) -> &DiffId {
        &self.0
    }

    fn sync(&mut self) -> Result<Option<Synced>, BoxError> {
        Ok(None)
    }

    fn publish(self: Box<Self>) -> Result<(), BoxError> {
        Ok(())
    }
}
