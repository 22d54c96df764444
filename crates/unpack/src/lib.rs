//! Unpacking of layers: from untrusted archives to trees, safely and in one pass.
//!
//! ```text
//! bytes ──decode──▶ tar stream ──hash──▶ diff_id
//!                       └──archive──▶ entries ──tree──▶ files below one directory descriptor
//! ```
//!
//! [`LayerStore`] keeps a tree for each layer; [`unpack_archive`] and [`unpack_layers`] write plain directories.

mod archive;
mod copy;
mod decode;
mod descriptors;
pub mod entry;
mod error;
mod limits;
mod metadata;
mod pipeline;
mod plain;
mod staging;
mod store;
mod tree;
mod whiteout;
mod work;
mod writeback;

pub use archive::Archive;
pub use copy::copy_layers;
pub use decode::{Buffers, Decoder, Format};
pub use descriptors::reserve_descriptors;
pub use error::{Error, Place, Quoted};
pub use limits::{LimitKind, Limits, RATIO_GRACE, Setting, SettingError};
pub use plain::{Layer, unpack_archive, unpack_layers};
pub use store::{Detached, LayerStore, LayerWriter, Staged};
pub use work::Summary;
