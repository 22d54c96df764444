//! A root filesystem as a one-layer image. It holds no time and no place: the same tarball makes the same image
//! everywhere.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use box_cache::{
    Cache, DiffId, Digest, Hold, Image, Layer, NewImage, Platform, Provenance, Reference, Whole,
};
use oci_spec::image::{
    ConfigBuilder, ImageConfiguration, ImageConfigurationBuilder, RootFsBuilder,
};

use crate::error::{Error, Result};
use crate::layer::StagedLayer;

/// The media type of a layer that is a plain tar archive.
pub(crate) const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// Written into the configuration of an image whose archive has none. It is a property of the image, which other engines read, and not
/// the default of the runtime, although both are the same.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a tarball is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As an OCI layer may be, with the media type of such a layer.
    Layer(&'static str),
    /// As no OCI layer may be: it has to be unpacked to a plain tar archive first.
    Other,
}

impl Packing {
    /// Tells the packing by the first bytes (RFC 1952, RFC 8878, and the formats of xz and bzip2).
    pub(crate) fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Layer("application/vnd.oci.image.layer.v1.tar+gzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Self::Layer("application/vnd.oci.image.layer.v1.tar+zstd")
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] | [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
                Self::Other
            }
            _ => Self::Layer(PLAIN),
        }
    }
}

/// What a file begins with: enough for [`Packing::detect`].
pub(crate) fn head_of(file: File) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let read = file.take(6).read_to_end(&mut head);
    read.map_err(Error::io("read", Path::new("a download")))?;
    Ok(head)
}

/// The layer of a root filesystem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rootfs {
    pub digest: Digest,
    pub size: u64,
    pub media_type: &'static str,
    pub diff_id: DiffId,
}

/// The image of a root filesystem that starts `command`.
pub(crate) fn image(
    reference: Reference,
    platform: &Platform,
    layer: Rootfs,
    command: &[String],
    provenance: Provenance,
) -> NewImage {
    NewImage {
        reference,
        platform: platform.clone(),
        layers: vec![Layer {
            digest: layer.digest,
            size: layer.size,
            media_type: layer.media_type.to_owned(),
            diff_id: layer.diff_id,
        }],
        config: config(platform, &layer.diff_id, command),
        provenance,
    }
}

/// Puts an image into the cache, with the download and the tree of its layer where they are new. The tree's wait for the
/// disk serves them all.
pub(crate) fn publish(
    cache: &Cache,
    hold: &Hold,
    image: NewImage,
    download: Option<Whole>,
    layer: Option<Box<dyn StagedLayer>>,
) -> Result<Image> {
    let what = image.reference.to_string();
    let failed = |source| Error::Layer {
        what: what.clone(),
        source,
    };
    let staged = cache.stage(hold, image, download)?;
    let mut synced = None;
    if let Some(mut layer) = layer {
        synced = layer.sync().map_err(failed)?;
        layer.publish().map_err(failed)?;
    }
    Ok(staged.publish(synced)?)
}

fn config(platform: &Platform, diff_id: &DiffId, command: &[String]) -> ImageConfiguration {
    let complete = "every field that must be set is set";
    let run = ConfigBuilder::default()
        .env(vec![PATH.to_owned()])
        .cmd(command.to_vec())
        .build()
        .expect(complete);
    let rootfs = RootFsBuilder::default()
        .typ("layers".to_owned())
        .diff_ids(vec![diff_id.to_string()])
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
