//! Where the output of a detached container goes: `--log-driver` and `--log-opt`.

use serde::{Deserialize, Serialize};

/// The log options of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// `--log-driver`.
    pub driver: Driver,
    /// `--log-opt max-size`.
    pub max_size: MaxSize,
    /// `--log-opt max-file`: the number of files of that size; 0 means 1.
    pub max_files: u32,
}

/// The destination of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// To a log in the container's directory, in the format of podman and Kubernetes.
    #[default]
    K8sFile,
    /// Nowhere: the container writes to its null device.
    None,
    /// To the standard streams of box.
    Passthrough,
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaxSize {
    /// At most this many.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

impl Default for MaxSize {
    fn default() -> Self {
        Self::Bytes(64 << 20)
    }
}

impl LogOptions {
    /// The smallest `max-size`: half of it has room for a record.
    pub const SMALLEST: u64 = 1 << 10;
    /// The largest `max-file`.
    pub const MOST_FILES: u32 = 1000;

    /// The size of a file, and the number of files, the current one included. A single file would lose the whole log when it is full: two
    /// files of half the size are used instead.
    pub(super) fn files(&self) -> (u64, u32) {
        match (self.max_size, self.max_files) {
            (MaxSize::Unlimited, _) => (u64::MAX, 1),
            (MaxSize::Bytes(size), 0 | 1) => (size.max(Self::SMALLEST) / 2, 2),
            (MaxSize::Bytes(size), files) => {
                (size.max(Self::SMALLEST), files.min(Self::MOST_FILES))
            }
        }
    }
}
