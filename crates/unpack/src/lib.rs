//! Unpacking layers: from untrusted archives to trees of files, safely and in one pass.
//!
//! ```text
//! bytes ──decode──▶ tar stream ──hash──▶ diff_id
//!                       └──archive──▶ entries ──tree──▶ files below one directory descriptor
//! ```
//!
//! [`LayerStore`] keeps one tree per layer, [`Layers`] selects the layers of an image. [`unpack_archive`] and [`unpack_layers`] write
//! plain directories.

mod archive;
mod decode;
mod descriptors;
pub mod entry;
mod error;
mod layers;
mod limits;
mod metadata;
mod pipeline;
mod plain;
mod staging;
mod tree;
mod whiteout;
mod work;
mod writeback;

pub use archive::Archive;
pub use decode::{Buffers, Decoder};
pub use descriptors::{RaisedLimit, reserve_descriptors};
pub use error::{Error, Position, Quoted};
pub use layers::merged;
pub use layers::{Detached, LayerStore, LayerWriter, Layers, StagedTree};
pub use limits::{LimitKind, Limits, RATIO_GRACE, Setting, SettingError};
pub use plain::{Layer, unpack_archive, unpack_layers};
pub use work::Summary;
