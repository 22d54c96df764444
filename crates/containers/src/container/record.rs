//! The settings of a new container, and the record of an existing one.

use std::time::{SystemTime, UNIX_EPOCH};

use box_cache::{DiffId, Digest};
use box_run::Ended;
use box_unpack::Layers;
use oci_spec::runtime::Spec;
use serde::{Deserialize, Deserializer, Serialize};

use crate::logs::LogOptions;
use crate::spec::etc::EtcFiles;
use crate::storage::Storage;

/// The input of [`Containers::create`](super::Containers::create).
#[derive(Clone, Debug)]
pub struct NewContainer {
    /// `--name`; generated if `None`.
    pub name: Option<String>,
    /// The reference of the image, for display.
    pub image: String,
    /// The digest of the image's manifest, which tells the garbage collector that the image is in use.
    pub manifest: Option<String>,
    /// The image's layers. They are never written to.
    pub layers: Layers,
    /// How the layers are used. `None`: an overlay, or a copy with a warning if overlays do not work.
    pub storage: Option<Storage>,
    /// From [`crate::spec::build`].
    pub spec: Spec,
    /// `--cgroup-parent`: the parent of the container's control group, a path or a systemd slice (`NAME.slice`); the root of the
    /// hierarchy if `None`. Ignored if the spec has a `cgroupsPath`.
    pub cgroup_parent: Option<String>,
    /// Files mounted over the image's own.
    pub etc: EtcFiles,
    /// `--rm`: the container is removed when its command ends.
    pub remove: bool,
    /// Options of each start.
    pub options: RunOptions,
}

/// Options of each start of a container, kept in `instance.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// Options of the runtime.
    #[serde(flatten)]
    pub runtime: box_run::Options,
    /// `-i` with `-d`: standard input stays open for clients that attach.
    pub interactive: bool,
    /// Where the output of a detached container goes.
    pub log: LogOptions,
}

impl From<box_run::Options> for RunOptions {
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
    /// 16 hexadecimal digits, never reused; the control group is named after it.
    pub id: String,
    /// The reference of the image.
    pub image: String,
    /// The digest of the image's manifest.
    pub manifest: Option<String>,
    /// The image's layers, topmost last.
    #[serde(deserialize_with = "diff_ids")]
    pub layers: Vec<DiffId>,
    /// How the layers are used.
    #[serde(default)]
    pub storage: Storage,
    /// Program and arguments, so that listing containers does not read every spec.
    #[serde(default)]
    pub command: Vec<String>,
    /// Seconds since the epoch.
    pub created: u64,
    /// `--rm`.
    pub remove: bool,
    /// Options of each start.
    pub options: RunOptions,
    /// The last start.
    pub started: Option<Started>,
    /// How the last run ended; `None` while it runs, or if that was not recorded.
    pub ended: Option<Ended>,
}

/// The start of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Seconds since the epoch.
    pub at: u64,
    /// The content of /proc/sys/kernel/random/boot_id at the start.
    pub boot_id: String,
}

/// Reads digests, or paths that end in digests as older versions wrote them.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn layers_are_written_as_digests_and_read_from_paths_too() {
        let id = DiffId(Digest::of(b"a layer"));
        let record = |layer: &str| {
            format!(
                r#"{{"id":"1","image":"alpine","manifest":null,"layers":["{layer}"],"created":1,"remove":false,
                "options":{{"init":true,"interactive":true}},"started":null,"ended":null}}"#
            )
        };
        let path = format!("/var/lib/box/layers/{}", id.0.hex());
        for layer in [path, id.0.to_string()] {
            let read: Record = serde_json::from_str(&record(&layer)).unwrap();
            assert_eq!(read.layers, [id]);
            assert!(read.options.interactive && read.options.runtime.init);
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(written["layers"][0], id.0.to_string());
            assert_eq!(written["options"]["init"], true);
        }
        for layer in ["/var/lib/box/layers/x", "x"] {
            assert!(serde_json::from_str::<Record>(&record(layer)).is_err());
        }
    }
}
