//! Names of files that are not at their destination yet, and how they are opened.

use rustix::fs::ResolveFlags;
use rustix::io::Errno;

/// The prefix of temporary names.
pub(crate) const PREFIX: &str = ".box-cp-";

/// The name of a copy in its staging directory.
pub(crate) const ONLY: &str = "copy";

/// Beneath the starting directory, through no link and onto no other file system.
pub(crate) const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A temporary name that nobody can guess.
pub(crate) fn random_name() -> Result<String, Errno> {
    let mut number = [0u8; 16];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{PREFIX}{:032x}", u128::from_ne_bytes(number)))
}
