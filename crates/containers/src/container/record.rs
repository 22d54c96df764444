//! What is asked for a new container, and what is written down about one.

use std::time::{SystemTime, UNIX_EPOCH};

use box_cache::{DiffId, Digest};
use box_run::Ended;
use box_unpack::Layers;
use oci_spec::runtime::Spec;
use serde::{Deserialize, Deserializer, Serialize};

use crate::logs::Settings;
use crate::spec::etc::EtcFiles;
use crate::storage::Storage;

/// What [`Containers::create`] needs.
#[derive(Clone, Debug)]
pub struct NewContainer {
    /// `--name`; two plain words if `None`.
    pub name: Option<String>,
    /// The reference of the image, for people.
    pub image: String,
    /// The digest of the image's manifest, so that clean-up knows what is in use.
    pub manifest: Option<String>,
    /// The image's layers. They are never written to.
    pub layers: Layers,
    /// What becomes of them. `None`: an overlay, or with a warning a copy where that cannot be had.
    pub storage: Option<Storage>,
    /// From [`crate::spec::build`].
    pub spec: Spec,
    /// `--cgroup-parent`: the group above the container's own, a path or a slice of systemd (`NAME.slice`), where the
    /// spec has no `cgroupsPath`; the hierarchy's root if `None`.
    pub cgroup_parent: Option<String>,
    /// Files mounted over the image's own.
    pub etc: EtcFiles,
    /// `--rm`: the container goes away when its command ends.
    pub remove: bool,
    /// How it is run each time.
    pub options: Options,
}

/// How a container is run each time. Kept in `instance.json` for the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What is the runtime's.
    #[serde(flatten)]
    pub runtime: box_run::Options,
    /// `-i` of a detached container: standard input stays open for those who attach.
    pub interactive: bool,
    /// What becomes of the output of a detached container.
    pub log: Settings,
}

impl From<box_run::Options> for Options {
    fn from(runtime: box_run::Options) -> Self {
        Self {
            runtime,
            ..Self::default()
        }
    }
}

/// The content of `instance.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// 16 hexadecimal digits, never used again; the control group is named after it.
    pub id: String,
    /// The reference of the image.
    pub image: String,
    /// The digest of the image's manifest.
    pub manifest: Option<String>,
    /// The image's layers as they are stacked, topmost last.
    #[serde(deserialize_with = "diff_ids")]
    pub layers: Vec<DiffId>,
    /// What became of them.
    #[serde(default)]
    pub storage: Storage,
    /// Program and arguments, so that a list of containers need not read every spec.
    #[serde(default)]
    pub command: Vec<String>,
    /// Seconds since the epoch.
    pub created: u64,
    /// `--rm`.
    pub remove: bool,
    /// How it is run each time.
    pub options: Options,
    /// The last start.
    pub started: Option<Started>,
    /// How the last run ended; `None` while it runs, or if nobody saw it.
    pub ended: Option<Ended>,
}

/// When a container was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Seconds since the epoch.
    pub at: u64,
    /// /proc/sys/kernel/random/boot_id of then.
    pub boot_id: String,
}

/// Digests; or paths of trees that are named after them, as an older box wrote them down.
fn diff_ids<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<DiffId>, D::Error> {
    let read = |text: &String| match text.rsplit_once('/') {
        None => text.parse(),
        Some((_, hex)) => Digest::from_sha256_hex(hex).or_else(|_| Digest::from_sha512_hex(hex)),
    };
    let texts = Vec::<String>::deserialize(source)?;
    let digests = texts.iter().map(|text| read(text).map(DiffId));
    digests
        .collect::<Result<_, _>>()
        .map_err(serde::de::Error::custom)
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
