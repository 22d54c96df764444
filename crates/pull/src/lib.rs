//! From a reference to an image in the cache.
//!
//! [`pull()`] brings an image into the cache: a source resolves the reference to descriptors of blobs, and each blob is
//! downloaded, verified, kept and handed to the caller's [`LayerSink`] in one pass. [`import()`] does the same with a tarball.
//! [`Remote`] answers what mirrors offer. [`Pins`] are the lock file.

mod error;
mod image;
mod import;
mod layer;
mod mirror;
mod options;
mod pins;
mod pull;
mod remote;
mod resolved;
mod signature;
mod source;
mod trust;

pub use box_transfer::{
    Attempt, Attempts, BoxError, CaCerts, Cause, ClientOptions, Error as TransferError, Location,
    Netrc, Printable, Proxies, Retry,
};
pub use error::{Error, Result};
pub use import::{Decompress, Import, Input, import};
pub use layer::{LayerSink, LayerWriter, StagedLayer};
pub use mirror::Mirror;
pub use options::{DEFAULT_JOBS, DEFAULT_MAX_SIZE, PullOptions};
pub use pins::{FILE_NAME as LOCK_FILE, Pin, Pins};
pub use pull::{Outcome, Pulled, pull, pull_all};
pub use remote::{Preview, PreviewLayer, Remote};
pub use resolved::{Descriptor, Proof, Resolved, Served, Sidecar};
pub use signature::{Keyring, VerifyPolicy};
pub use source::Offer;
pub use source::alpine::{AlpineError, Alternatives, DEFAULT_MIRROR};
pub use trust::{Evidence, Policy, PublicKey, Refusal, Rule, Signers, SigningKey, Subject};
