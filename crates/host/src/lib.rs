//! Facts about this host that several crates need: how control groups are mounted, what `/proc` reports about a process, which ranges
//! of ids belong to users, and how an I/O error reads in a message.
//!
//! This is the lowest crate. Readers of files come in two parts: a parser that takes text, and a function that reads the file.

pub mod cgroup;
mod error;
pub mod process;
mod reason;
pub mod subordinate;

pub use error::Error;
pub use reason::{Reason, is_full, is_unwritable, plain_reason};
