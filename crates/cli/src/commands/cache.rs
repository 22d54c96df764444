//! Disk usage and integrity of the cache and of the layers.

pub mod df;
pub mod gc;
pub mod verify;
