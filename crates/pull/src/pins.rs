//! `box.lock`: the exact release that each reference stands for.
//!
//! A TOML file with `version = 1` and one `[[image]]` table for each reference and architecture, sorted by both, so
//! that the same pins always make the same file. It names no mirror: the digests decide.
//!
//! An image of a registry is pinned by the digest of its manifest alone. The fields of a tarball (`tarball`, `path`) are those of a
//! release of Alpine's, which both are there or both missing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use box_cache::{Digest, Image, Platform, Reference, Verified};
use box_transfer::Printable;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::mirror::Mirrors;
use crate::resolved::{Descriptor, Proof, Resolved};

/// Name of the lock file in the working directory.
pub const FILE_NAME: &str = "box.lock";

/// Version of the format.
const VERSION: u32 = 1;

/// Largest lock file that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// The pins of one lock file.
#[derive(Clone, Debug)]
pub struct Pins {
    path: PathBuf,
    images: BTreeMap<(String, String), Pin>,
}

/// What one reference stands for on one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The reference, without a digest: `alpine:3.20`.
    pub reference: Reference,
    /// OCI name and variant of the architecture: `amd64`, `arm/v7`.
    pub arch: String,
    /// Digest of the image's manifest.
    pub manifest: Digest,
    /// Digest of the tarball; none for an image of a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tarball: Option<Digest>,
    /// Size of the tarball, or of all layers, in bytes.
    pub size: u64,
    /// The publisher's name of the release: `3.20.3`.
    pub version: String,
    /// Path of the tarball below each mirror; none for an image of a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    image: Vec<Pin>,
}

impl Pin {
    /// The pin of an image of the cache, and of the release that it was made from.
    ///
    /// # Errors
    /// [`Error::NotLockable`] for an image that was not made from one tarball.
    pub fn new(image: &Image, resolved: &Resolved) -> Result<Self> {
        let tarball = resolved.tarball();
        if tarball.is_none() && resolved.served.is_none() {
            return Err(Error::NotLockable {
                reference: image.reference.to_string(),
                layers: resolved.layers.len(),
            });
        }
        Ok(Self {
            reference: image.reference.without_digest(),
            arch: arch_name(&image.platform),
            manifest: image.manifest_digest,
            tarball: tarball.map(|tarball| tarball.digest),
            size: image.layers.iter().map(|layer| layer.size).sum(),
            version: resolved.version.clone(),
            path: tarball.map(|tarball| tarball.name.clone()),
        })
    }

    /// Whether a digest means the image of this pin.
    pub(crate) fn is(&self, digest: &Digest) -> bool {
        self.manifest == *digest || self.tarball == Some(*digest)
    }

    /// What the reference stands for by this pin, if it is a tarball. A signature may be beside the tarball.
    pub(crate) fn resolved(&self, mirrors: &Mirrors<'_>) -> Option<Resolved> {
        let (path, tarball) = (self.path.as_ref()?, self.tarball?);
        Some(Resolved {
            version: self.version.clone(),
            layers: vec![Descriptor {
                name: path.clone(),
                locations: mirrors.locations(path),
                digest: tarball,
                sha512: None,
                size: Some(self.size),
                media_type: None,
                diff_id: None,
            }],
            proof: Proof {
                signature: Some(mirrors.sidecar(format!("{path}.asc"))),
                digests: Verified::Digest,
            },
            current: true,
            searched: Vec::new(),
            served: None,
        })
    }
}

impl Pins {
    /// No pins yet, to be saved at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            images: BTreeMap::new(),
        }
    }

    /// Reads the lock file at `path`; `None` if there is none.
    pub fn load(path: impl Into<PathBuf>) -> Result<Option<Self>> {
        let path = path.into();
        let meta = match path.metadata() {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        if !meta.is_file() || meta.len() > LIMIT {
            return Err(Error::LockFile {
                path,
                why: format!("it is not a regular file of at most {LIMIT} bytes"),
            });
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Self::parse(path, &text).map(Some)
    }

    /// Parses the text of the lock file at `path`. The file itself is not read.
    pub fn parse(path: impl Into<PathBuf>, text: &str) -> Result<Self> {
        let mut pins = Self::new(path);
        let path = pins.path.clone();
        let malformed = move |why: String| Error::LockFile {
            path: path.clone(),
            why,
        };
        let document: Document = toml::from_str(text).map_err(|e| {
            let before = e.span().and_then(|span| text.get(..span.start));
            let line = before.map(|b| format!("line {}: ", b.lines().count().max(1)));
            malformed(format!(
                "{}{}",
                line.unwrap_or_default(),
                Printable::new(e.message())
            ))
        })?;
        if document.version != VERSION {
            return Err(malformed(format!(
                "it has version {}, expected {VERSION}",
                document.version
            )));
        }
        for pin in document.image {
            let id = format!("{} ({})", pin.reference, Printable::new(&pin.arch));
            check(&pin).map_err(|why| malformed(format!("{id}: {why}")))?;
            if pins.insert(pin).is_some() {
                return Err(malformed(format!("it names {id} twice")));
            }
        }
        Ok(pins)
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a reference stands for on a platform. The caller compares the digest that the reference may demand.
    pub fn get(&self, reference: &Reference, platform: &Platform) -> Option<&Pin> {
        self.images
            .get(&(reference.without_digest().key(), arch_name(platform)))
    }

    /// All pins, sorted by reference and architecture.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.images.values()
    }

    /// Adds a pin, and returns the pin that it replaces.
    pub fn insert(&mut self, pin: Pin) -> Option<Pin> {
        self.images
            .insert((pin.reference.key(), pin.arch.clone()), pin)
    }

    /// The text of the file.
    pub fn to_toml(&self) -> Result<String> {
        let document = Document {
            version: VERSION,
            image: self.images.values().cloned().collect(),
        };
        let text = toml::to_string(&document).map_err(|e| Error::LockFile {
            path: self.path.clone(),
            why: e.to_string(),
        })?;
        Ok(format!(
            "# Written by `box lock`; `box pull` and `box run` take exactly these.\n{text}"
        ))
    }
}

/// The name of a platform in a lock file.
pub(crate) fn arch_name(platform: &Platform) -> String {
    match platform.variant() {
        Some(variant) => format!("{}/{variant}", platform.architecture()),
        None => platform.architecture().to_owned(),
    }
}

/// Checks a pin of unknown origin: its path must stay below the mirror.
fn check(pin: &Pin) -> Result<(), String> {
    let plain_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b))
    };
    if pin.path.is_some() != pin.tarball.is_some() {
        return Err("it has only one of path and tarball".to_owned());
    }
    if pin.path.is_some() != pin.reference.is_own() {
        return Err(match pin.path {
            Some(_) => "images of registries have no path".to_owned(),
            None => "it has no path".to_owned(),
        });
    }
    if let Some(path) = &pin.path
        && !path.split('/').all(plain_name)
    {
        return Err(format!(
            "`{}` is not a path below a mirror",
            Printable::new(path)
        ));
    }
    if !pin.version.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!(
            "`{}` is not a version",
            Printable::new(&pin.version)
        ));
    }
    if pin.reference.digest().is_some() {
        return Err("its reference has a digest".to_owned());
    }
    let known = pin
        .arch
        .parse::<Platform>()
        .is_ok_and(|p| arch_name(&p) == pin.arch);
    match known {
        true => Ok(()),
        false => Err("its architecture is unknown".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pin(reference: &str, arch: &str) -> Pin {
        Pin {
            reference: reference.parse().unwrap(),
            arch: arch.to_owned(),
            manifest: Digest::of(b"manifest"),
            tarball: Some(Digest::of(b"tarball")),
            size: 3_490_290,
            version: "3.20.3".to_owned(),
            path: Some("v3.20/releases/x86_64/alpine-minirootfs-3.20.3-x86_64.tar.gz".to_owned()),
        }
    }

    #[test]
    fn the_file_is_sorted_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        assert!(Pins::load(&path).unwrap().is_none());
        let mut pins = Pins::new(&path);
        for (reference, arch) in [
            ("alpine:edge", "amd64"),
            ("alpine:3.20", "arm64"),
            ("alpine:3.20", "amd64"),
        ] {
            assert!(pins.insert(pin(reference, arch)).is_none());
        }
        let text = pins.to_toml().unwrap();
        fs::write(&path, &text).unwrap();
        let order: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with("arch") || l.starts_with("reference"))
            .collect();
        assert_eq!(
            order[0..4],
            [
                "reference = \"alpine:3.20\"",
                "arch = \"amd64\"",
                "reference = \"alpine:3.20\"",
                "arch = \"arm64\""
            ]
        );
        let read = Pins::load(&path).unwrap().unwrap();
        assert_eq!(read.to_toml().unwrap(), text);
        let reference = "alpine:3.20@".to_owned() + &Digest::of(b"x").to_string();
        let found = read
            .get(&reference.parse().unwrap(), &"aarch64".parse().unwrap())
            .unwrap();
        assert_eq!(*found, pin("alpine:3.20", "arm64"));
        assert!(
            read.get(&"alpine:3.19".parse().unwrap(), &"aarch64".parse().unwrap())
                .is_none()
        );
    }

    #[test]
    fn wrong_files_say_what_is_wrong() {
        let mut pins = Pins::new("box.lock");
        pins.insert(pin("alpine:3.20", "arm/v7"));
        let good = pins.to_toml().unwrap();
        let twice = format!("{good}\n{}", &good[good.find("[[image]]").unwrap()..]);
        for (text, why) in [
            (
                "\u{1b}[31m".to_owned(),
                "cannot read the lock file box.lock",
            ),
            (
                good.replace("version = 1", "version = 2"),
                "it has version 2, expected 1",
            ),
            (
                good.replace("v3.20/releases", "../releases"),
                "not a path below a mirror",
            ),
            (
                good.replace("v3.20/releases", "/releases"),
                "not a path below a mirror",
            ),
            (
                good.replace("arm/v7", "armv7"),
                "its architecture is unknown",
            ),
            (good.replace("3.20.3\"", "3\\u001b\""), "is not a version"),
            (good.replace("size", "length"), "unknown field"),
            (good.replace("sha256:", "md5:"), "sha256"),
            (twice, "it names alpine:3.20 (arm/v7) twice"),
        ] {
            let error = Pins::parse("box.lock", &text).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
    }
}
