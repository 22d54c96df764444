//! Named containers: their records, their files, and the process that supervises them.
//!
//! [`spec::build`] makes a runtime spec from an image's config and the flags, [`Containers::create`] writes it as an OCI bundle with a
//! record beside it, [`Container::plan`] combines bundle and storage for the runtime, [`launch`] starts the container in the foreground
//! and [`monitor::detach`] in the background.

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
    Container, Containers, Live, NewContainer, Record, RunOptions, View, Waiter, launch, prepare,
};
pub use error::Error;
pub use ids::Ids;
pub use spec::etc::EtcFiles;
pub use spec::overrides::{self, Overrides};
pub use state::Status;
pub use storage::Storage;
