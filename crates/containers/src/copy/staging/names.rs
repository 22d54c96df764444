//! Names of files that are not in their place yet, and how they are opened.

use rustix::fs::ResolveFlags;
use rustix::io::Errno;

/// How the names of what lies aside begin.
pub(crate) const PREFIX: &str = ".box-cp-";

/// What a copy is called until it has its place.
pub(crate) const ONLY: &str = "copy";

/// Below the directory it begins at, through no link and onto no other file system.
pub(crate) const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A name for what has none yet, or not its own: nobody guesses it.
pub(crate) fn random_name() -> Result<String, Errno> {
    let mut number = [0u8; 16];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{PREFIX}{:032x}", u128::from_ne_bytes(number)))
}
