//! Instances and the execution of OCI runtime specs.
//!
//! The road: [`spec::build`] makes a runtime spec from an image's config and the flags, [`Instances::create`] writes it
//! as an OCI bundle, [`Plan::new`] checks and allocates all that a start needs, [`process::prepare`] makes the container
//! ready, [`process::Prepared::start`] lets it go and [`process::Running::wait`] tells how it ended.

mod archive;
pub mod attach;
pub mod capabilities;
pub mod cgroup;
mod channel;
mod confine;
pub mod copy;
pub mod devices;
pub mod diagnosis;
pub mod diff;
pub mod error;
pub mod etc;
pub mod exec;
mod files;
mod hooks;
pub mod idmap;
mod init;
pub mod instance;
pub mod layer;
pub mod logs;
mod lookup;
pub mod masked;
mod mounts;
pub mod names;
mod namespaces;
mod nodes;
mod overlay;
pub mod overrides;
pub mod plan;
pub mod process;
mod progress;
mod removal;
pub mod rlimits;
mod sealed;
pub mod seccomp;
pub mod signals;
pub mod spec;
pub mod state;
pub mod storage;
mod sys;
pub mod top;
pub mod tty;
pub mod user;
pub mod volumes;
mod xattrs;

pub use archive::Ids;
pub use error::Error;
pub use etc::EtcFiles;
pub use instance::{Instance, Instances, NewInstance, Record};
pub use overrides::Overrides;
pub use plan::{Options, Plan};
pub use process::{Ended, Prepared, Reason, Running, detach, launch, prepare};
pub use signals::ExitStatus;
pub use state::Status;
pub use storage::Storage;
