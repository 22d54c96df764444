//! The privileges of a container's processes: capabilities, system calls, resource limits.

pub mod capabilities;
pub mod rlimits;
pub mod seccomp;
