//! The mounts of a container: planned by the parent ([`MountStep`]), made by the child ([`mod@make`]).
//!
//! A path of the image is never followed by name. Mount points are opened by openat2(2) inside the root file system, so that a
//! symbolic link in the image, or one exchanged meanwhile through a shared volume, cannot lead a mount onto the host
//! (CVE-2021-30465), and mounts are attached to these descriptors. Sources on the host are opened by the parent.

mod destination;
mod filesystem;
mod make;
mod mounted;
pub(crate) mod options;
mod place;
mod reopen;
mod restricted;
mod step;
mod text;

pub(crate) use destination::normal;
pub use filesystem::filesystem;
pub(crate) use make::make;
pub(crate) use mounted::{Mounted, TAKEN};
pub(crate) use place::ASTRAY;
pub use place::is_of_the_kernel;
pub use reopen::{Reopened, reopen};
pub(crate) use restricted::{RestrictedPath, mask, read_only};
pub(crate) use step::{MountKind, MountStep};
pub(crate) use text::write_texts;
