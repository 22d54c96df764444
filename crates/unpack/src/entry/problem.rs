//! The problems of archives, as messages.

use crate::error::Quoted;
use crate::limits::LimitKind;

/// A problem of one member, or of the stream that it is in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say it.
pub enum Problem {
    #[error(
        "bad checksum: the header says {expected}, the sum of its bytes is {actual}; this is not a tar archive, or a damaged one"
    )]
    Checksum { expected: u64, actual: u64 },
    #[error("{field} is not a number: {}", Quoted(text))]
    Number { field: &'static str, text: Vec<u8> },
    #[error("{field} is negative")]
    Negative { field: &'static str },
    #[error("{field} is {value}, the maximum is {max}")]
    TooLarge {
        field: &'static str,
        value: u128,
        max: u64,
    },
    #[error("entries of type {} cannot be unpacked", Quoted(&[*.0]))]
    Type(u8),
    #[error("the name is empty")]
    EmptyName,
    #[error("{field} contains a NUL byte")]
    Nul { field: &'static str },
    #[error("{field} {} has a \"..\" component", Quoted(path))]
    ParentComponent { field: &'static str, path: Vec<u8> },
    #[error("{field} has a component of {length} bytes, the maximum is 255")]
    ComponentLength { field: &'static str, length: usize },
    #[error("the name ends in \"/\", but this is a file with content")]
    FileNamedAsDirectory,
    #[error("the tree's root can only be a directory")]
    RootNotDirectory,
    #[error(
        "too many paths lead through symbolic links, and the links' targets are too long for that"
    )]
    Detours,
    #[error("the link has no target")]
    EmptyTarget,
    #[error("the hard link's target {} is not in the archive before it", Quoted(.0))]
    LinkTarget(Vec<u8>),
    #[error("the hard link's target {} is a directory", Quoted(.0))]
    LinkToDirectory(Vec<u8>),
    #[error("extended header: {0}")]
    Pax(&'static str),
    #[error("extended header: {} is not allowed in a global header", Quoted(.0))]
    GlobalKey(Vec<u8>),
    #[error("an extended header is not followed by an entry")]
    Dangling,
    #[error("more than {0} extended headers before one entry")]
    ManyHeaders(usize),
    #[error("sparse map: {0}")]
    Sparse(&'static str),
    #[error("access control list {}: {reason}", Quoted(text))]
    Acl { text: Vec<u8>, reason: &'static str },
    #[error("extended attribute {} is refused: it would control the overlay that containers run on", Quoted(.0))]
    SteeringXattr(Vec<u8>),
    #[error("more than {0} extended attributes, or {1} bytes of them")]
    ManyXattrs(usize, usize),
    #[error("extended attribute {}: {reason}", Quoted(name))]
    Xattr { name: Vec<u8>, reason: &'static str },
    #[error("whiteout: {0}")]
    Whiteout(&'static str),
    #[error("a character device 0:0 hides files from the overlay; layers use a .wh. name for that")]
    WhiteoutDevice,
    #[error("{} on its path is not a directory", Quoted(.0))]
    ParentNotDirectory(Vec<u8>),
    #[error("{} on its path is a symbolic link that does not lead to a directory", Quoted(.0))]
    ParentDangling(Vec<u8>),
    #[error("limit {limit} exceeded: {value}, the maximum is {allowed}")]
    Limit {
        limit: LimitKind,
        value: u64,
        allowed: u64,
    },
    #[error(
        "limit ratio exceeded: {packed} bytes decompress to {decoded}, more than {allowed} times as many"
    )]
    Ratio {
        decoded: u64,
        packed: u64,
        allowed: u64,
    },
    #[error("the archive ends here, {missing} bytes too early")]
    Truncated { missing: u64 },
    #[error("it has {0} bytes, less than one header: this is not a tar archive")]
    Short(usize),
    #[error("a single block of zeros; an archive ends with two")]
    LoneZeroBlock,
    #[error("the {format} stream is damaged at byte {offset}: {reason}")]
    Compressed {
        format: &'static str,
        offset: u64,
        reason: String,
    },
    #[error(
        "limit window exceeded: decoding the {format} stream needs more than {allowed} bytes of history"
    )]
    Window { format: &'static str, allowed: u64 },
    #[error("the {format} stream is truncated after {offset} bytes")]
    CompressedCut { format: &'static str, offset: u64 },
    #[error("the file is empty, not an archive")]
    Empty,
}
