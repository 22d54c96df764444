//! A root filesystem as an image. It records neither time nor origin: the same tarball makes the same image everywhere.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use box_cache::{
    Cache, Compression, DiffId, Hold, Image, Layer, NewImage, Platform, Provenance, Reference,
    ServedImage, Whole,
};
use oci_spec::image::{
    ConfigBuilder, ImageConfiguration, ImageConfigurationBuilder, RootFsBuilder,
};

use crate::error::{Error, Result};
use crate::layer::StagedLayer;
use crate::resolved::Descriptor;

/// The search path written into the configuration of an image whose archive has none. It is a property of the image, which other
/// engines read, and not the default of the runtime, although both are the same.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image of a root filesystem starts by default.
pub(crate) const SHELL: &str = "/bin/sh";

/// How a file is compressed, by its first bytes.
pub(crate) fn compression_of(file: File) -> Result<Compression> {
    let mut head = Vec::new();
    let read = file.take(Compression::HEAD as u64).read_to_end(&mut head);
    read.map_err(Error::io("read", Path::new("the download")))?;
    Ok(Compression::detect(&head))
}

/// The layer that a file is.
pub(crate) fn layer(
    file: File,
    descriptor: &Descriptor,
    size: u64,
    diff_id: DiffId,
) -> Result<Layer> {
    let media_type = match &descriptor.media_type {
        Some(media_type) => media_type.clone(),
        None => {
            let media_type = compression_of(file)?.layer_media_type();
            let media_type = media_type.ok_or_else(|| {
                let why = "an OCI layer cannot be compressed like this; import it instead";
                Error::layer(descriptor.digest.to_string())(why)
            })?;
            media_type.to_owned()
        }
    };
    Ok(Layer {
        digest: descriptor.digest,
        size,
        media_type,
        diff_id,
    })
}

/// The image of a root filesystem that starts `command`.
pub(crate) fn image(
    reference: Reference,
    platform: &Platform,
    layers: Vec<Layer>,
    command: &[String],
    provenance: Provenance,
) -> NewImage {
    NewImage {
        reference,
        platform: platform.clone(),
        config: config(platform, &layers, command),
        layers,
        provenance,
    }
}

/// An image whose config and manifest are to be made, or are there.
pub(crate) enum Documents {
    /// To be made of layers.
    Made(Box<NewImage>),
    /// Those of a registry.
    Served(Box<ServedImage>),
}

/// Puts an image into the cache, with the downloads and the trees of its layers where they are new. If the trees lie on the
/// cache's file system, syncing them syncs the rest.
pub(crate) fn publish(
    cache: &Cache,
    hold: &Hold,
    image: Documents,
    downloads: Vec<Whole>,
    layers: Vec<Box<dyn StagedLayer>>,
) -> Result<Image> {
    let (what, staged) = match image {
        Documents::Made(image) => {
            let what = image.reference.to_string();
            (what, cache.stage(hold, *image, downloads)?)
        }
        Documents::Served(image) => {
            let what = image.reference.to_string();
            (what, cache.stage_served(hold, *image, downloads)?)
        }
    };
    let (mut synced, mut layers) = (None, layers);
    // The first sync writes what all of them need; the others only ask whether it went well.
    for layer in &mut layers {
        synced = layer.sync().map_err(Error::layer(&what))?;
    }
    for layer in layers {
        layer.publish().map_err(Error::layer(&what))?;
    }
    Ok(staged.publish(synced)?)
}

fn config(platform: &Platform, layers: &[Layer], command: &[String]) -> ImageConfiguration {
    let complete = "every field that must be set is set";
    let run = ConfigBuilder::default()
        .env(vec![PATH.to_owned()])
        .cmd(command.to_vec())
        .build()
        .expect(complete);
    let diff_ids: Vec<String> = layers.iter().map(|l| l.diff_id.to_string()).collect();
    let rootfs = RootFsBuilder::default()
        .typ("layers".to_owned())
        .diff_ids(diff_ids)
        .build()
        .expect(complete);
    let mut config = ImageConfigurationBuilder::default()
        .os(platform.os())
        .architecture(platform.architecture())
        .config(run)
        .rootfs(rootfs)
        .build()
        .expect(complete);
    config.set_variant(platform.variant().map(str::to_owned));
    config
}
