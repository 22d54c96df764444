//! The OCI runtime: from a bundle to a process.
//!
//! [`Plan::new`] checks a [`Bundle`] and allocates everything its start needs, [`process::prepare`] sets the container up,
//! [`Prepared::start`] runs its command and [`Running::wait`] returns how it ended. In between, the caller acts in the callbacks of
//! [`Lifecycle`], to save a state or write a record. [`exec`](process::exec::exec) starts a process in a running container.
//!
//! This crate knows nothing of images, names or logs.

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
pub use sealed::DEFAULT_PATH;
pub use sys::ExitStatus;
