//! Writing to a repository: blobs, then the documents that name them.
//!
//! A registry shows an image when its manifest is put, so blobs come first, manifests after them, the index after its manifests, and
//! the tag with the last document: whatever ends a push in between, nobody can pull half of it. See
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push>.

mod blob;
mod failure;
mod manifest;
mod range;
mod session;
mod shipment;
mod target;

pub use blob::{Arrival, BlobFile};
pub use shipment::{Pushed, Shipment};
