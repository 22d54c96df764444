//! The cache under use and abuse: collection, verification, archives, kills, crowds, full and read-only disks.

#![allow(clippy::unwrap_used)]

mod archives;
mod check;
mod claims;
mod collection;
mod crowd;
mod disks;
mod kills;
mod shared;
mod verify;
