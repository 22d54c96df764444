//! Finding, fetching and verifying images.
//!
//! [`pull`] brings an image into the cache: a source says what the reference stands for, mirrors are tried until one
//! gives the file, and in one pass it is hashed, kept and handed to the caller's [`LayerSink`]. [`Remote`] tells what
//! mirrors offer. [`Pins`] are the lock file.

mod download;
mod error;
mod fetch;
mod foreign;
mod http;
mod image;
mod keeper;
mod layer;
mod listing;
mod mirror;
mod options;
mod pins;
mod platform;
mod pull;
mod remote;
mod retry;
mod signature;
mod source;

pub use error::{Attempt, Cause, Error, Known, Result, Tried};
pub use foreign::Foreign;
pub use http::{CaCerts, HttpOptions, Netrc, Proxies};
pub use layer::{LayerSink, LayerWriter, StagedLayer};
pub use mirror::{Location, Mirror};
pub use options::{DEFAULT_MAX_SIZE, DEFAULT_MIRROR, Options};
pub use pins::{FILE_NAME as LOCK_FILE, Pin, Pins};
pub use platform::alpine_arch;
pub use pull::{Outcome, Pulled, pull};
pub use remote::{Plan, Remote};
pub use retry::Retry;
pub use signature::{Keyring, VerifyPolicy};
pub use source::tarball::{Decompress, Import, Input, import};
pub use source::{Offer, Release};

/// An error of somebody else's making.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
