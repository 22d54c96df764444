//! `index.json`: the list of all images, replaced as a whole.
//!
//! A writer holds `locks/index` from reading to renaming. Readers take no lock: they see either the old or the new file. What
//! other tools wrote into it is kept.
//!
//! One reference may have several platforms. Tools such as umoci refuse a name that occurs twice, so exactly one entry of a
//! reference has the plain name: the one for the machine's own platform, if any. The others have `+` and their platform
//! appended (`alpine:3.20+arm64`), which no tag can contain.

pub(crate) mod lookup;
pub(crate) mod removal;
pub(crate) mod select;
pub(crate) mod tag;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{Timespec, Timestamps, futimens};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::blob::staging::StagedFile;
use crate::cache::replace::sync_directory;
use crate::{Digest, Error, Hold, Layout, Platform, Reference, Result};

/// The annotation that names an entry; see
/// <https://github.com/opencontainers/image-spec/blob/main/annotations.md#pre-defined-annotation-keys>.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation of an entry whose reference now means another image.
const REPLACED: &str = "box.replaced";

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The largest index in bytes: 64 MiB are about 150,000 images.
const MAX_INDEX: u64 = 64 << 20;

/// How many former images of one reference stay in the index until a collection, so that the index does not grow without end
/// where nothing is collected.
const MAX_REPLACED: usize = 32;

/// The document, including the fields that box does not know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    #[serde(default)]
    pub(crate) manifests: Vec<Entry>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A descriptor in the index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) media_type: String,
    /// Kept as text: an unknown algorithm in one entry must not hide all other images.
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// Identifies a version of the index. No two versions share a stamp: every file that box writes has a later mtime than the one
/// before, and files of other tools differ in inode or size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    size: u64,
}

impl Stamp {
    /// The stamp of the current index, if there is an index.
    pub(crate) fn current(layout: &Layout) -> Result<Option<Stamp>> {
        let path = layout.index();
        match std::fs::metadata(&path) {
            Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look up", &path)(error)),
        }
    }

    fn of(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            inode: metadata.ino(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
            size: metadata.size(),
        }
    }

    /// The stamp as a file name.
    pub(crate) fn name(&self) -> String {
        format!(
            "{:x}-{:x}.{:x}-{:x}",
            self.inode, self.seconds, self.nanoseconds, self.size
        )
    }
}

impl Default for Index {
    fn default() -> Index {
        Index {
            schema_version: 2,
            manifests: Vec::new(),
            rest: Map::new(),
        }
    }
}

impl Index {
    /// Reads the index and its stamp. A missing index is an empty one.
    pub(crate) fn read(layout: &Layout) -> Result<(Index, Option<Stamp>)> {
        let path = layout.index();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Index::default(), None));
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let metadata = file.metadata().map_err(Error::io("look up", &path))?;
        if metadata.len() > MAX_INDEX {
            return Err(Error::TooLarge {
                what: path.display().to_string(),
                limit: MAX_INDEX,
            });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len() + 1).unwrap_or(0));
        file.take(MAX_INDEX)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        let malformed = |reason| Error::Document {
            what: "index",
            path: path.clone(),
            reason,
        };
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        if index.schema_version != 2 {
            return Err(malformed(format!(
                "its schemaVersion is {}, expected 2",
                index.schema_version
            )));
        }
        Ok((index, Some(Stamp::of(&metadata))))
    }

    /// Replaces the index and returns the stamp of the new one. The caller holds the index lock. `directories` are synced first, so
    /// that the index never refers to a name that is not on the disk.
    pub(crate) fn write(
        &self,
        layout: &Layout,
        hold: &Hold,
        directories: &[PathBuf],
    ) -> Result<Stamp> {
        let path = layout.index();
        let bytes = serde_json::to_vec(self).map_err(|error| Error::Document {
            what: "index",
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let mut staged = StagedFile::create(layout, hold)?;
        staged.write(&bytes)?;
        if let Some(before) = Stamp::current(layout)? {
            make_later(staged.file(), &before).map_err(Error::io("set the time of", &path))?;
        }
        staged.set_mode(0o644)?;
        // The file first: a journal that commits it commits earlier renames too, and then has nothing left to do for their
        // directories.
        staged.sync()?;
        for directory in directories {
            sync_directory(directory).map_err(Error::io("sync directory", directory))?;
        }
        staged.name(&path)?;
        sync_directory(layout.root()).map_err(Error::io("sync directory", layout.root()))?;
        Stamp::current(layout)?
            .ok_or_else(|| Error::io("look up", &path)(io::ErrorKind::NotFound.into()))
    }

    /// Whether the document could also be read as a manifest (CVE-2021-41190).
    pub(crate) fn is_manifest_too(&self) -> bool {
        ["config", "layers"]
            .iter()
            .any(|key| self.rest.contains_key(*key))
    }

    /// Its media type. Documents that leave it out are OCI's.
    pub(crate) fn media_type(&self) -> &str {
        let own = self.rest.get("mediaType").and_then(Value::as_str);
        own.unwrap_or(INDEX)
    }

    /// The entries with this key, for any platform.
    pub(crate) fn named(&self, key: &str) -> impl Iterator<Item = &Entry> {
        self.manifests
            .iter()
            .filter(move |entry| entry.key().as_deref() == Some(key))
    }

    /// Keeps entries that others replaced, under their digests, unless they are listed so already. Only the last [`MAX_REPLACED`]
    /// of one reference stay.
    pub(crate) fn keep_replaced<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>) {
        for entry in entries.filter(|entry| entry.is_manifest()) {
            let Some(entry) = entry.replaced() else {
                continue;
            };
            if self
                .named(&entry.key().unwrap_or_default())
                .next()
                .is_some()
            {
                continue;
            }
            self.manifests.push(entry.clone());
            let same = |other: &Entry| other.is_replaced() && other.tagged() == entry.tagged();
            let count = self.manifests.iter().filter(|other| same(other)).count();
            let mut surplus = count.saturating_sub(MAX_REPLACED);
            self.manifests.retain(|other| {
                let goes = surplus > 0 && same(other);
                surplus -= usize::from(goes);
                !goes
            });
        }
    }

    /// Orders the entries of one key: the host's platform comes first and has the plain name.
    pub(crate) fn arrange(&mut self, key: &str, host: &Platform) {
        let places: Vec<usize> = (0..self.manifests.len())
            .filter(|at| self.manifests[*at].key().as_deref() == Some(key))
            .collect();
        let mut entries: Vec<Entry> = places
            .iter()
            .map(|at| self.manifests[*at].clone())
            .collect();
        entries.sort_by_key(|entry| {
            let rank = entry
                .platform()
                .and_then(|platform| host.accepts(&platform));
            (
                entry.platform().as_ref() != Some(host),
                rank.unwrap_or(u32::MAX),
            )
        });
        for (number, (at, mut entry)) in places.into_iter().zip(entries).enumerate() {
            let name = match entry.platform() {
                Some(platform) if number > 0 => format!("{key}+{}", platform.suffix()),
                _ => key.to_owned(),
            };
            entry
                .annotations
                .get_or_insert_default()
                .insert(REF_NAME.to_owned(), name);
            self.manifests[at] = entry;
        }
    }
}

impl Entry {
    /// The digest, if box knows its algorithm.
    pub(crate) fn digest(&self, layout: &Layout) -> Result<Digest> {
        self.digest.parse().map_err(|error: Error| Error::Document {
            what: "index",
            path: layout.index(),
            reason: error.to_string(),
        })
    }

    /// The platform, if the entry has one.
    pub(crate) fn platform(&self) -> Option<Platform> {
        let platform = self.platform.as_ref()?;
        // An empty architecture would be read as this machine's.
        platform
            .get("architecture")?
            .as_str()
            .filter(|name| !name.is_empty())?;
        Platform::deserialize(platform).ok()
    }

    /// The entry's reference, without the platform's suffix. None if it has no name, or one that is not a reference.
    pub(crate) fn reference(&self) -> Option<Reference> {
        let name = self.annotations.as_ref()?.get(REF_NAME)?;
        name.split_once('+')
            .map_or(name.as_str(), |(name, _)| name)
            .parse()
            .ok()
    }

    /// The key of [`Entry::reference`].
    pub(crate) fn key(&self) -> Option<String> {
        self.reference().map(|reference| reference.key())
    }

    /// The entry to keep when another one takes its reference. Its name is its digest, so that a pin still finds it, and it is
    /// marked, so that the collector drops it if nothing pins it.
    pub(crate) fn replaced(&self) -> Option<Entry> {
        let digest = self.digest.parse().ok()?;
        let mut entry = self.clone();
        entry.name(&self.reference()?.with_digest(digest));
        let annotations = entry.annotations.get_or_insert_default();
        annotations.insert(REPLACED.to_owned(), "true".to_owned());
        Some(entry)
    }

    /// Takes the mark of a replaced entry away.
    pub(crate) fn current(&mut self) {
        if let Some(annotations) = &mut self.annotations {
            annotations.remove(REPLACED);
        }
    }

    /// The reference that it has or had, without a digest.
    pub(crate) fn tagged(&self) -> Option<Reference> {
        Some(self.reference()?.without_digest())
    }

    /// Whether its reference means another image now.
    pub(crate) fn is_replaced(&self) -> bool {
        let annotations = self.annotations.as_ref();
        annotations.is_some_and(|annotations| annotations.contains_key(REPLACED))
    }

    /// The annotation of a key.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        Some(self.annotations.as_ref()?.get(key)?.as_str())
    }

    /// Whether it describes one image, not an index or something else.
    pub(crate) fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether it describes an index of images.
    pub(crate) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), INDEX | DOCKER_LIST)
    }
}

/// Sets a file's mtime to now, but to at least a nanosecond after another's: the clock of file times may stand still for
/// milliseconds, or be set back.
fn make_later(file: &File, before: &Stamp) -> io::Result<()> {
    let now = Stamp::of(&file.metadata()?);
    if (now.seconds, now.nanoseconds) > (before.seconds, before.nanoseconds) {
        return Ok(());
    }
    let later = match before.nanoseconds {
        999_999_999.. => Timespec {
            tv_sec: before.seconds + 1,
            tv_nsec: 0,
        },
        nanoseconds => Timespec {
            tv_sec: before.seconds,
            tv_nsec: nanoseconds + 1,
        },
    };
    futimens(
        file,
        &Timestamps {
            last_access: later,
            last_modification: later,
        },
    )?;
    Ok(())
}
