//! Archive members as checked values: everything between raw headers and the tree writer. No file system is accessed.
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
    /// Its path, relative to the tree's root.
    pub path: EntryPath,
    /// Its type.
    pub kind: EntryKind,
    /// Owner, permissions, time and attributes.
    pub metadata: Metadata,
    /// Size of the content in the archive, without the padding to a whole block.
    pub stored: u64,
}

/// The type of a member, with the fields of that type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes. With `sparse`, only its segments are stored.
    File {
        /// Length of the file.
        size: u64,
        /// Where the stored bytes go.
        sparse: Option<SparseMap>,
    },
    /// A directory.
    Directory,
    /// A symbolic link. Its target is kept byte for byte, and is only valid inside the tree.
    Symlink {
        /// The link's text.
        target: Vec<u8>,
    },
    /// Another name of an earlier member.
    HardLink {
        /// The earlier member's path.
        target: EntryPath,
    },
    /// A character or block device.
    Device {
        /// A block device instead of a character device.
        block: bool,
        /// At most 12 bits.
        major: u32,
        /// At most 20 bits.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// The metadata of a member.
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

/// Seconds and nanoseconds since 1970. Nanoseconds count forward, even before 1970.
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
    /// Full name, such as `user.comment`, without NUL bytes.
    pub name: Vec<u8>,
    /// Value: any bytes.
    pub value: Vec<u8>,
}

impl Entry {
    /// Size of the file; 0 for other types.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size, .. } => size,
            _ => 0,
        }
    }
}
