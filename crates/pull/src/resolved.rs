//! What a reference stands for: the blobs of an image, where they can be had, and what vouches for them.

use std::sync::Arc;

use box_cache::{DiffId, Digest, Image, Platform, Verified};
use box_transfer::Location;

/// What a reference stands for now, as its source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The publisher's name of the release, such as `3.20.3`.
    pub version: String,
    /// The layers, topmost last; a root filesystem published as one tarball is the case of one.
    pub layers: Vec<Descriptor>,
    /// What vouches for the layers.
    pub proof: Proof,
    /// Whether this is what the tag of the reference means now. An older release that was found by its digest is not.
    pub current: bool,
    /// If a digest was demanded and not found: the branches that were searched for it.
    pub searched: Vec<String>,
    /// The documents of an image of a registry. Without them, box makes a config and a manifest.
    pub served: Option<Served>,
}

/// The documents of an image of a registry, byte for byte, compared with the digests by which they were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The media type of the manifest.
    pub media_type: String,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The config.
    pub config: Vec<u8>,
    /// The index from which the manifest was chosen, and those nested in it on the way, outermost first.
    pub indexes: Vec<Arc<Vec<u8>>>,
    /// The platform by the index, if that names one.
    pub described: Option<Platform>,
    /// The platform by the config, or else by the index.
    pub platform: Platform,
    /// The version that the publisher noted in the image, if any.
    pub version: Option<String>,
    /// The name of the repository, for people.
    pub origin: String,
}

impl Served {
    /// The digest of the index from which the manifest was chosen.
    pub fn index(&self) -> Option<Digest> {
        self.indexes.first().map(|bytes| Digest::of(bytes))
    }

    /// Whether a digest means this image: that of its manifest, or of an index that led to it.
    pub fn is(&self, digest: &Digest) -> bool {
        self.digest == *digest
            || self
                .indexes
                .iter()
                .any(|bytes| Digest::of(bytes) == *digest)
    }
}

/// One blob: what it must be, and where it can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name for people and lock files. For a file on mirrors, this is the path below each of them.
    pub name: String,
    /// Where it can be had, in the order of preference.
    pub locations: Vec<Location>,
    /// Its SHA-256 digest.
    pub digest: Digest,
    /// Its SHA-512 digest, if the source states one.
    pub sha512: Option<Digest>,
    /// Its size in bytes, if the source states it.
    pub size: Option<u64>,
    /// Its media type, if the source states one. Otherwise the first bytes tell how it is compressed.
    pub media_type: Option<String>,
    /// The digest that its uncompressed content must have, if a config names it.
    pub diff_id: Option<DiffId>,
}

/// What vouches for the bytes of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Where the publisher's signature may be found, if it makes any. It counts when it is valid for the bytes of each layer.
    pub signature: Option<Sidecar>,
    /// What vouches without a signature: [`Verified::Digest`] if the user or a lock file demanded the digest,
    /// [`Verified::Checksum`] if it is only what the source states.
    pub digests: Verified,
}

/// A small file beside a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Its name for people.
    pub name: String,
    /// Where it can be had, in the order of preference.
    pub locations: Vec<Location>,
}

impl Resolved {
    /// The tarball of an image that consists of one.
    pub fn tarball(&self) -> Option<&Descriptor> {
        match (self.layers.as_slice(), &self.served) {
            ([tarball], None) => Some(tarball),
            _ => None,
        }
    }

    /// Whether `digest` is that of the one tarball.
    pub(crate) fn is_tarball(&self, digest: &Digest) -> bool {
        self.tarball()
            .is_some_and(|tarball| tarball.digest == *digest)
    }

    /// Whether a digest means this: that of the tarball, of the manifest, or of an index that led to it.
    pub(crate) fn means(&self, digest: &Digest) -> bool {
        let served = self.served.as_ref();
        self.is_tarball(digest) || served.is_some_and(|served| served.is(digest))
    }

    /// Whether an image of the cache is this release. Only the image of one tarball is identified by its layer; images of
    /// registries are identified by their manifests, and by the index that led to it.
    pub(crate) fn is_image(&self, image: &Image) -> bool {
        if let Some(served) = &self.served {
            let known = image.provenance.served.as_ref();
            // Who asks by the digest of the manifest learns of no index.
            let same = |known: &box_cache::Served| {
                let index = served.index();
                index.is_none() || known.index == index
            };
            return image.manifest_digest == served.digest && known.is_some_and(same);
        }
        self.tarball()
            .is_some_and(|tarball| image.is_of(&tarball.digest))
    }
}
