//! The inside of one container: its processes, its output and its files.

pub mod attach;
pub mod cp;
pub mod diff;
pub mod exec;
pub mod logs;
pub mod stats;
pub mod top;
