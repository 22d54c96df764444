//! References, digests and the content-addressed image cache on disk.
//!
//! The cache is an [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md):
//! `oci-layout`, `index.json` and `blobs/sha256/<hex>`, so that every tool that reads `oci:` directories reads it.
//! Beside them are directories that only box knows. All of them may be deleted at any time without losing an image:
//!
//! | name | holds |
//! | --- | --- |
//! | `partial/` | downloads in progress (resumable) and files written aside |
//! | `lookup/` | answers derived from `index.json`, one small file per reference |
//! | `used/` | an empty file per manifest, whose mtime says when the image was last used |
//! | `pins/` | the paths of the lock files that pin images of this cache |
//! | `quarantine/` | blobs that no longer matched their name |
//! | `locks/` | files that are locked with flock(2) but never read |
//!
//! Three rules hold everywhere. A file appears under a digest's name only after its bytes were verified and synced.
//! Whatever must survive a crash is written aside, synced and renamed. A process that adds names to the cache has a [`Hold`]
//! meanwhile, so that the collector never deletes what is just being added.

mod archive;
mod blob;
mod cache;
mod compression;
mod digest;
mod error;
mod gc;
mod image;
mod index;
mod platform;
mod progress;
mod reference;

pub use archive::pax::{PaxRecord, pax_number, pax_records};
pub use archive::{Decompress, LoadOptions};
pub use blob::audit::{Audit, DamagedBlob};
pub use blob::partial::{Claim, Expected, Origin, Partial, PartialKey, Watch, Whole};
pub use blob::verify::VerifiedReader;
pub use box_host::{Reason, is_full, is_unwritable, plain_reason};
pub use cache::Cache;
pub use cache::layout::Layout;
pub use cache::lock::Hold;
pub use cache::replace::{Durability, replace_file, sync_directory};
pub use cache::survey::{StoredBlob, StoredFile, Survey, disk_usage};
pub use compression::Compression;
pub use digest::{Algorithm, DiffId, Digest, Hasher};
pub use error::{Error, Result};
pub use gc::eviction::Evicted;
pub use gc::expiry::Expiry;
pub use gc::{BoxError, Collection, Garbage, GarbageKind, LayerTrees, Needs, Policy, Reclaim};
pub use image::provenance::{Provenance, Served, Verified};
pub use image::publish::NewImage;
pub use image::served::{ServedImage, artifact_type};
pub use image::staged_image::{StagedImage, Synced};
pub use image::{DamagedImage, Image, Layer, Listing, read_config};
pub use index::removal::Removed;
pub use platform::{Arch, Platform};
pub use progress::{Event, NoProgress, Phase, Progress, TaskId};
pub use reference::Reference;
