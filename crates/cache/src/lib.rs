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
mod audit;
mod beneath;
mod blob;
mod cache;
mod compression;
mod digest;
mod error;
mod eviction;
mod expiry;
mod gc;
mod image;
mod index;
mod layout;
mod lock;
mod lock_file;
mod lookup;
mod partial;
mod pax;
mod platform;
mod progress;
mod provenance;
mod publish;
mod reason;
mod reference;
mod removal;
mod replace;
mod select;
mod staged_image;
mod staging;
mod survey;
mod verify;

pub use archive::{Decompress, LoadOptions};
pub use audit::{Audit, DamagedBlob};
pub use cache::Cache;
pub use compression::Compression;
pub use digest::{Algorithm, ChainId, DiffId, Digest, Hasher};
pub use error::{Error, Result, words};
pub use eviction::Evicted;
pub use expiry::Expiry;
pub use gc::{BoxError, Collection, Doomed, Garbage, Kind, Needs, Policy, Trees};
pub use image::{Damaged, Image, Layer, Listing};
pub use layout::Layout;
pub use lock::Hold;
pub use partial::{Claim, Expected, Origin, Partial, PartialKey, Watch, Whole};
pub use pax::{PaxRecord, pax_number, pax_records};
pub use platform::{Arch, Platform};
pub use progress::{Event, NoProgress, Phase, Progress, TaskId};
pub use provenance::{Provenance, Verified};
pub use publish::NewImage;
pub use reason::{Reason, is_full, is_unwritable, plain_reason};
pub use reference::Reference;
pub use removal::Removed;
pub use replace::{Durability, replace_file, sync_directory};
pub use staged_image::{StagedImage, Synced};
pub use survey::{StoredBlob, StoredFile, Survey, disk_usage};
pub use verify::VerifiedReader;
