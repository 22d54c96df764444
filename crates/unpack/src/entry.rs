//! Archive members as checked values: everything between raw headers and the tree writer. Pure; no file system.
//!
//! Formats: v7, POSIX ustar, old and new GNU tar, PAX (`pax(1)`, "pax Interchange Format"), star's and libarchive's
//! extended attributes.

mod acl;
pub(crate) mod assemble;
mod header;
mod name;
mod pax;
mod problem;
mod sparse;
mod xattr;

pub use acl::posix_acl;
pub use header::{BLOCK, Header, TypeFlag};
pub use name::EntryPath;
pub use pax::Records;
pub use problem::Problem;
pub use sparse::{Segment, SparseMap};

pub(crate) use header::{display_name, gnu_sparse_extension};
pub(crate) use sparse::MapReader;
pub(crate) use xattr::bytes as xattr_bytes;

/// One member of an archive, every value checked and within the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes, relative to the tree's root.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Owner, permissions, time and attributes.
    pub metadata: Metadata,
    /// Bytes of content that follow the header in the archive, not counting the padding to a whole block.
    pub stored: u64,
}

/// The type of a member, with what only that type has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes; where `sparse` is there, only its segments are stored.
    File {
        /// Length of the file once it is written.
        size: u64,
        /// Where the stored bytes go.
        sparse: Option<SparseMap>,
    },
    /// A directory.
    Directory,
    /// A symbolic link; the target is kept byte for byte and means something only inside the tree.
    Symlink {
        /// The link's text.
        target: Vec<u8>,
    },
    /// Another name for a member that came before.
    HardLink {
        /// That member's path.
        target: EntryPath,
    },
    /// A character or block device.
    Device {
        /// Block instead of character.
        block: bool,
        /// At most 12 bits.
        major: u32,
        /// At most 20 bits.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// What every member has beside its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permissions with setuid, setgid and sticky: the low 12 bits.
    pub mode: u32,
    /// Owner; never `u32::MAX`, which means "leave as is" to `chown(2)`.
    pub uid: u32,
    /// Group; never `u32::MAX`.
    pub gid: u32,
    /// Last modification.
    pub mtime: Time,
    /// Extended attributes as `setxattr(2)` takes them, each name once.
    pub xattrs: Vec<Xattr>,
}

/// Seconds and nanoseconds since 1970; nanoseconds count forward, also before 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Full name, such as `user.comment`; no NUL byte.
    pub name: Vec<u8>,
    /// Value; any bytes.
    pub value: Vec<u8>,
}

impl Entry {
    /// Bytes of the file this makes; 0 where it makes none.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size, .. } => size,
            _ => 0,
        }
    }
}
