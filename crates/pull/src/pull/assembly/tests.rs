#![allow(clippy::unwrap_used)]

use std::io;
use std::path::Path;

use box_cache::{Cache, DiffId, Hasher, NoProgress, Platform, Reference, Synced};
use box_transfer::Location;

use super::*;
use crate::BoxError;
use crate::layer::{LayerSink, LayerWriter, StagedLayer};
use crate::options::PullOptions;
use crate::resolved::Proof;

/// Hashes plain archives, and keeps no trees.
struct Plain;

struct Hashing(Hasher);

struct Hashed(DiffId);

impl LayerSink for Plain {
    fn layer(&self, _: Option<&DiffId>) -> io::Result<Box<dyn LayerWriter>> {
        Ok(Box::new(Hashing(Hasher::sha256())))
    }
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LayerWriter for Hashing {
    fn finish(self: Box<Self>) -> Result<Box<dyn StagedLayer>, BoxError> {
        Ok(Box::new(Hashed(DiffId(self.0.finish()))))
    }
}

impl StagedLayer for Hashed {
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

/// An image whose layers are the files `names` of a directory, which hold their own names.
fn published(dir: &Path, names: &[&str]) -> Resolved {
    let layers = names.iter().map(|name| {
        let path = dir.join(name);
        std::fs::write(&path, name).unwrap();
        Descriptor {
            name: (*name).to_owned(),
            locations: vec![Location::File(path)],
            digest: Digest::of(name.as_bytes()),
            sha512: None,
            size: Some(name.len() as u64),
            media_type: Some("application/vnd.oci.image.layer.v1.tar".to_owned()),
            diff_id: None,
        }
    });
    Resolved {
        version: "1".to_owned(),
        layers: layers.collect(),
        proof: Proof {
            signature: None,
            digests: Verified::Checksum,
        },
        current: true,
        searched: Vec::new(),
        served: None,
    }
}

/// Obtains an image without asking a source.
fn obtain(cache: &Cache, resolved: &Resolved) -> Result<(Image, Outcome)> {
    let options = PullOptions::new(Platform::host());
    let reference: Reference = "several:1".parse()?;
    let pull = Pull {
        cache,
        reference: &reference,
        options: &options,
        sink: &Plain,
        progress: &NoProgress,
    };
    let remote = Remote::new(&options, &NoProgress);
    pull.obtain(&remote, resolved)
}

fn downloaded(bytes: u64) -> Outcome {
    Outcome::Downloaded { bytes }
}

#[test]
fn layers_are_fetched_once_and_kept_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    // The same layer twice, as images have it whose layers are empty.
    let resolved = published(dir.path(), &["one", "three", "one"]);
    let (image, outcome) = obtain(&cache, &resolved).unwrap();
    assert_eq!(outcome, downloaded(8));
    let digests: Vec<_> = image.layers.iter().map(|layer| layer.digest).collect();
    let expected: Vec<_> = resolved.layers.iter().map(|layer| layer.digest).collect();
    assert_eq!(digests, expected);
    assert_eq!(image.provenance.verified, Verified::Checksum);

    let (again, outcome) = obtain(&cache, &resolved).unwrap();
    assert_eq!(outcome, Outcome::Cached);
    assert_eq!(again.manifest_digest, image.manifest_digest);
}

#[test]
fn only_missing_layers_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    let base = published(dir.path(), &["one", "two"]);
    let (first, _) = obtain(&cache, &base).unwrap();
    let derived = published(dir.path(), &["one", "two", "three"]);
    let (second, outcome) = obtain(&cache, &derived).unwrap();
    assert_eq!(outcome, downloaded(5));
    assert_eq!(second.layers[..2], first.layers[..]);
    // What is in the middle of a stack is fetched like the top of it.
    std::fs::remove_file(cache.layout().blob(&derived.layers[1].digest)).unwrap();
    let (third, outcome) = obtain(&cache, &derived).unwrap();
    assert_eq!(outcome, downloaded(3));
    assert_eq!(third.manifest_digest, second.manifest_digest);
}

#[test]
fn one_wrong_layer_is_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    let resolved = published(dir.path(), &["one", "two"]);
    std::fs::write(dir.path().join("two"), "owt").unwrap();
    let error = obtain(&cache, &resolved).unwrap_err().to_string();
    assert!(error.contains("cannot fetch two"), "{error}");
    assert!(error.contains("wrong content"), "{error}");
    assert!(cache.images().unwrap().is_empty());
    let kept = |name: &str| cache.has_blob(&Digest::of(name.as_bytes())).unwrap();
    assert_eq!((kept("one"), kept("two")), (None, None));
    std::fs::write(dir.path().join("two"), "two").unwrap();
    obtain(&cache, &resolved).unwrap();
    assert_eq!((kept("one"), kept("two")), (Some(3), Some(3)));
}
