//! How files are copied, and what was copied.

use super::tree::Unavailable;
use crate::ids::Ids;

/// How files are copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// `-a`: owners, extended attributes and device nodes are copied too, set-id bits are kept.
    pub archive: bool,
    /// `-L`: a symbolic link named as the source is followed.
    pub follow: bool,
    /// Who owns the copies without `archive`, in ids of the host.
    pub owner: (u32, u32),
    /// How the container's ids are seen on the host; applied by `archive`.
    pub ids: Ids,
    /// The copy goes into the container, so ids are the host's.
    pub inward: bool,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files of any kind.
    pub files: u64,
    /// Bytes of file content; holes are none.
    pub bytes: u64,
    /// Files that cannot be copied: sockets, and devices without `archive`.
    pub skipped: u64,
    /// Files that were there when their directory was read, and gone when their turn came.
    pub vanished: u64,
    /// Mount points whose content was not to be had, each in words.
    pub unavailable: Vec<String>,
}

impl Copied {
    pub(super) fn note_unavailable(&mut self, unavailable: &Unavailable) {
        if !unavailable.expected && !self.unavailable.contains(&unavailable.why) {
            self.unavailable.push(unavailable.why.clone());
        }
    }
}
