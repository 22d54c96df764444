//! What becomes of the output of a container in the background: `--log-driver` and `--log-opt`.

use serde::{Deserialize, Serialize};

/// What a container was made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// `--log-driver`.
    pub driver: Driver,
    /// `--log-opt max-size`.
    pub max_size: MaxSize,
    /// `--log-opt max-file`: how many files of that size; 0 is 1.
    pub max_files: u32,
}

/// Where the output goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// To a log in the container's directory, in the format of podman and Kubernetes.
    #[default]
    K8sFile,
    /// Nowhere: the container has its own null device.
    None,
    /// To whatever box itself was started with.
    Passthrough,
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaxSize {
    /// At most so many.
    Bytes(u64),
    /// As many as there come.
    Unlimited,
}

impl Default for MaxSize {
    fn default() -> Self {
        Self::Bytes(64 << 20)
    }
}

impl LogOptions {
    /// The smallest `max-size`: half of it still has room for a record with some text.
    pub const SMALLEST: u64 = 1 << 10;
    /// The largest `max-file`.
    pub const MOST_FILES: u32 = 1000;

    /// Bytes of one file, and how many files there are, the one that is written to included. One file alone would be emptied
    /// when it is full, and the log with it: then there are two of half the size.
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
