//! Containers that have a name: what is kept about them, their files, and the process that stays with them.
//!
//! [`spec::build`] makes a runtime spec from an image's config and what was asked for, [`Containers::create`] writes it as an OCI bundle
//! with a record beside it, [`Container::plan`] puts bundle and storage together for the runtime, [`launch`] starts it in the foreground and
//! [`monitor::detach`] in the background.

pub mod accounts;
mod archive;
mod container;
pub mod copy;
pub mod diff;
pub mod error;
pub mod exec;
mod files;
mod ids;
pub mod logs;
pub mod monitor;
pub mod spec;
pub mod storage;
pub mod top;
pub mod volumes;

pub use container::state;
pub use container::{
    Container, Containers, Live, NewContainer, Options, Record, View, Waiter, launch, prepare,
};
pub use error::Error;
pub use ids::Ids;
pub use spec::etc::EtcFiles;
pub use spec::overrides::{self, Overrides};
pub use state::Status;
pub use storage::Storage;
