//! References, digests and the content-addressed image cache on disk.
//!
//! The cache is an [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md):
//! `oci-layout`, `index.json` and `blobs/sha256/<hex>`, so that every tool that reads `oci:` directories reads it.
//! Beside these stand directories that only box knows, all of which may be deleted at any time without loss of an image:
//!
//! | name | holds |
//! | --- | --- |
//! | `partial/` | downloads in flight (resumable) and files written aside |
//! | `lookup/` | answers derived from `index.json`, one small file for each reference |
//! | `used/` | an empty file for each manifest, whose mtime says when the image was last used |
//! | `quarantine/` | blobs that no longer matched their name |
//! | `locks/` | files that are locked with flock(2) and never read |
//!
//! Three rules hold everywhere: a file appears under a digest's name only after its bytes were verified and synced;
//! whatever must survive a crash is written aside, synced and renamed; and whoever adds names to the cache holds the
//! cache's [`Hold`] while doing so, so that the collector never takes away what is just being put in.

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
pub use error::{Error, Result, words};
pub use gc::eviction::Evicted;
pub use gc::expiry::Expiry;
pub use gc::{BoxError, Collection, Garbage, GarbageKind, LayerTrees, Needs, Policy, Reclaim};
pub use image::provenance::{Provenance, Verified};
pub use image::publish::NewImage;
pub use image::staged_image::{StagedImage, Synced};
pub use image::{DamagedImage, Image, Layer, Listing};
pub use index::removal::Removed;
pub use platform::{Arch, Platform};
pub use progress::{Event, NoProgress, Phase, Progress, TaskId};
pub use reference::Reference;
