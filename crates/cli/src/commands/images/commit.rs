//! `box commit`.

use clap_complete::ArgValueCandidates;
use std::fs::File;
use std::io::{self, Seek, Write};

use box_cache::{
    Cache, DiffId, Digest, Hasher, Image, Layer, NewImage, Platform, Provenance, Reference,
};
use box_containers::Container;
use box_unpack::{LayerStore, Limits};
use flate2::Compression;
use flate2::write::GzEncoder;
use oci_spec::image::ImageConfiguration;

use crate::commands::images::commit::changes::apply;
use crate::image::trust;
use crate::options::{self, refused};
use crate::output;
use crate::report::{Failure, cause};
use crate::settings::{Settings, require_root};

mod changes;
mod dockerfile;
mod expansion;

/// Creates an image from a container: its image plus a layer with the container's changes. A running container is paused
/// meanwhile. The new image has the command of the old one, unless --change sets another one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  box commit --change 'CMD [\"sh\", \"-c\", \"cat /motd\"]' web my-web:1"
)]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    name: String,
    /// Name of the new image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Apply a Dockerfile instruction to the new image's config: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or
    /// WORKDIR, with quotes and variables such as $PATH
    #[arg(short, long = "change", value_name = "CHANGE")]
    changes: Vec<String>,
    /// Do not pause a running container; files that it writes meanwhile may be incomplete
    #[arg(long)]
    no_pause: bool,
}

/// Media type of the new layer.
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("reading a container's files")?;
    let reference = options::reference(&args.image)?;
    if reference.digest().is_some() {
        return Err(refused(
            "IMAGE",
            &args.image,
            "the digest of a new image cannot be chosen",
        ));
    }
    let container = settings.containers().get(&args.name)?;
    // A rule for the image's name holds for what is made from it, too: the new name may have none.
    trust::judge_container(settings, &container, "commit")?;
    let cache = Cache::open(&settings.dirs.cache)?;
    let parent = parent(&cache, &container)?;
    let mut config = parent.config.clone();
    apply(&mut config, &args.changes)?;
    let paused = match container.status()? {
        box_containers::Status::Running { .. } if !args.no_pause => {
            container.pause()?;
            true
        }
        _ => false,
    };
    let made = pack(settings, &cache, &container);
    if paused {
        match container.unpause() {
            // It was killed in the meantime.
            Ok(()) | Err(box_containers::Error::NotRunning { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let image = publish(&cache, made?, &parent, config, reference)?;
    output::line(&image.manifest_digest.to_string())?;
    Ok(0)
}

/// The image that the container was created from, which must still be in the cache.
fn parent(cache: &Cache, container: &Container) -> Result<Image, Failure> {
    let record = container.record();
    let gone = || {
        Failure::new(format!(
            "cannot commit {1}: its image {0} is no longer in the cache",
            record.image,
            container.name()
        ))
        .hint(format!("fetch it again: box pull {}", record.image))
    };
    let manifest: Digest = record.manifest.as_deref().ok_or_else(gone)?.parse()?;
    let reference: Reference = record.image.parse()?;
    let named = reference.without_digest().with_digest(manifest);
    if let Some(image) = cache.find(&named, &Platform::host())? {
        return Ok(image);
    }
    // It may be for another platform, or have another name by now.
    cache
        .images()?
        .into_iter()
        .find(|image| image.manifest_digest == manifest)
        .ok_or_else(gone)
}

/// A layer on disk that is not yet in the cache.
struct Packed {
    blob: File,
    layer: Layer,
    tree: box_unpack::StagedTree,
}

/// Packs the changes of a container into a layer and unpacks them into the layer store, in one pass.
fn pack(settings: &Settings, cache: &Cache, container: &Container) -> Result<Packed, Failure> {
    let failed =
        |error: io::Error| Failure::new(format!("cannot pack the layer: {}", cause(&error)));
    let flags =
        rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let file =
        rustix::fs::open(cache.directory(), flags, mode).map_err(|errno| failed(errno.into()))?;
    let blob = Hashed {
        inner: File::from(file),
        hasher: Hasher::sha256(),
        bytes: 0,
    };
    // Reproducible: without a name and a time in the header.
    let packer = GzEncoder::new(blob, Compression::default());
    let tree = LayerStore::open(&settings.dirs.layers).writer(Limits::default())?;
    let both = container.write_layer(Both { packer, tree })?;
    let mut blob = both.packer.finish().map_err(failed)?;
    let tree = both.tree.finish()?;
    blob.inner.rewind().map_err(failed)?;
    let diff_id: DiffId = *tree.diff_id();
    let layer = Layer {
        digest: blob.hasher.finish(),
        size: blob.bytes,
        media_type: GZIP.to_owned(),
        diff_id,
    };
    Ok(Packed {
        blob: blob.inner,
        layer,
        tree,
    })
}

fn publish(
    cache: &Cache,
    packed: Packed,
    parent: &Image,
    config: ImageConfiguration,
    reference: Reference,
) -> Result<Image, Failure> {
    let Packed { blob, layer, tree } = packed;
    let hold = cache.hold()?;
    cache.store_blob(&hold, blob, "the packed layer", &layer.digest, layer.size)?;
    tree.publish()?;
    let mut layers = parent.layers.clone();
    layers.push(layer);
    let provenance = Provenance {
        fetched: output::now(),
        ..Provenance::unknown()
    };
    Ok(cache.publish(
        &hold,
        NewImage {
            reference,
            platform: parent.platform.clone(),
            layers,
            config,
            provenance,
        },
    )?)
}

/// A writer that counts and hashes.
struct Hashed {
    inner: File,
    hasher: Hasher,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes the plain layer both to its blob and to its tree.
struct Both {
    packer: GzEncoder<Hashed>,
    tree: box_unpack::LayerWriter,
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.packer.write(bytes)?;
        self.tree.write_all(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.packer.flush()
    }
}
