//! What the cache and the layers take on disk, and whether it is sound.

pub mod df;
pub mod gc;
pub mod verify;
