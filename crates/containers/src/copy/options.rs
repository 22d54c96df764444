//! Options and result of a copy.

use super::tree::Unavailable;
use crate::ids::Ids;

/// Options of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// `-a`: copies owners, extended attributes and device nodes, and keeps set-id bits.
    pub archive: bool,
    /// `-L`: follows a symbolic link if the source is one.
    pub follow: bool,
    /// Owner and group of the copies without `archive`, as host ids.
    pub owner: (u32, u32),
    /// The id mapping of the container, for `archive`.
    pub ids: Ids,
    /// Whether the copy goes into the container: ids are mapped to those of the host.
    pub inward: bool,
}

/// Result of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Number of copied files of any kind.
    pub files: u64,
    /// Bytes of content, without holes.
    pub bytes: u64,
    /// Number of skipped files: sockets, and devices without `archive`.
    pub skipped: u64,
    /// Number of files that were removed between the reading of their directory and their copy.
    pub vanished: u64,
    /// Mount points whose content was not available, each with the reason.
    pub unavailable: Vec<String>,
}

impl Copied {
    pub(super) fn note_unavailable(&mut self, unavailable: &Unavailable) {
        if !unavailable.expected && !self.unavailable.contains(&unavailable.why) {
            self.unavailable.push(unavailable.why.clone());
        }
    }
}
