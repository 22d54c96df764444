//! What a container's processes may do: capabilities, system calls, resource limits of processes.

pub mod capabilities;
pub mod rlimits;
pub mod seccomp;
