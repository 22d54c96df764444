//! What can be wrong with an archive, in words.

use crate::error::Quoted;
use crate::limits::LimitKind;

/// What is wrong with one member or with the stream it is in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say it.
pub enum Problem {
    #[error(
        "bad checksum: the header says {expected}, its bytes sum up to {actual}; this is no tar archive, or a damaged one"
    )]
    Checksum { expected: u64, actual: u64 },
    #[error("{field} is not a number: {}", Quoted(text))]
    Number { field: &'static str, text: Vec<u8> },
    #[error("{field} is negative")]
    Negative { field: &'static str },
    #[error("{field} is {value}, at most {max} can be")]
    TooLarge {
        field: &'static str,
        value: u128,
        max: u64,
    },
    #[error("entries of type {} cannot be unpacked", Quoted(&[*.0]))]
    Type(u8),
    #[error("the name is empty")]
    EmptyName,
    #[error("{field} holds a NUL byte")]
    Nul { field: &'static str },
    #[error("{field} {} has a \"..\" component", Quoted(path))]
    ParentComponent { field: &'static str, path: Vec<u8> },
    #[error("{field} has a component of {length} bytes, a file system takes 255")]
    ComponentLength { field: &'static str, length: usize },
    #[error("the name ends in \"/\", yet this is a file with content")]
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
    #[error("extended header: {} cannot stand in a global header", Quoted(.0))]
    GlobalKey(Vec<u8>),
    #[error("an extended header is followed by no entry")]
    Dangling,
    #[error("more than {0} extended headers before one entry")]
    ManyHeaders(usize),
    #[error("sparse map: {0}")]
    Sparse(&'static str),
    #[error("access control list {}: {reason}", Quoted(text))]
    Acl { text: Vec<u8>, reason: &'static str },
    #[error("extended attribute {} would steer the overlay that containers run on, and is refused", Quoted(.0))]
    SteeringXattr(Vec<u8>),
    #[error("more than {0} extended attributes, or {1} bytes of them")]
    ManyXattrs(usize, usize),
    #[error("extended attribute {}: {reason}", Quoted(name))]
    Xattr { name: Vec<u8>, reason: &'static str },
    #[error("whiteout: {0}")]
    Whiteout(&'static str),
    #[error(
        "a character device 0:0 hides files from the overlay; layers say that with a .wh. name"
    )]
    WhiteoutDevice,
    #[error("{} on its path is not a directory", Quoted(.0))]
    ParentNotDirectory(Vec<u8>),
    #[error("{} on its path is a symbolic link that leads to no directory", Quoted(.0))]
    ParentDangling(Vec<u8>),
    #[error("limit {limit} exceeded: {value} of at most {allowed}")]
    Limit {
        limit: LimitKind,
        value: u64,
        allowed: u64,
    },
    #[error(
        "limit ratio exceeded: {decoded} bytes came out of {packed}, more than {allowed} times as many"
    )]
    Ratio {
        decoded: u64,
        packed: u64,
        allowed: u64,
    },
    #[error("the archive ends here, {missing} bytes too early")]
    Truncated { missing: u64 },
    #[error("it has {0} bytes, less than one header: this is no tar archive")]
    Short(usize),
    #[error("a lone block of zeros; the end of an archive has two")]
    LoneZeroBlock,
    #[error("the {format} stream is damaged at its byte {offset}: {reason}")]
    Compressed {
        format: &'static str,
        offset: u64,
        reason: String,
    },
    #[error(
        "limit window exceeded: to decode the {format} stream takes more history than {allowed} bytes"
    )]
    Window { format: &'static str, allowed: u64 },
    #[error("the {format} stream is cut off after {offset} bytes")]
    CompressedCut { format: &'static str, offset: u64 },
    #[error("the file is empty, not an archive")]
    Empty,
}
