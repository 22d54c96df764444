//! The OCI runtime: from a bundle to a process.
//!
//! The road: [`Plan::new`] checks a [`Bundle`] and allocates all that its start needs, [`process::prepare`] makes the container
//! ready, [`Prepared::start`] lets it go and [`Running::wait`] returns how it ended. What the caller does in between (note a
//! state, write a record) are the callbacks of [`Lifecycle`]. [`exec`](process::exec::exec) starts a process in a container that
//! runs.
//!
//! Nothing in here knows of images, of names, or of logs.

pub mod cgroup;
mod channel;
mod devices;
pub mod error;
mod hooks;
mod init;
pub mod mounts;
pub mod namespaces;
pub mod plan;
mod privileges;
pub mod process;
mod sealed;
pub mod signals;
pub mod sys;
pub mod tty;

pub use channel::Step;
pub use error::Error;
pub use plan::{Bundle, Options, Plan, RootFilesystem};
pub use privileges::{capabilities, rlimits, seccomp};
pub use process::{Ended, Lifecycle, Prepared, Reason, Running};
pub use sys::ExitStatus;
