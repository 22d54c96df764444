//! Image archives, to move images between machines. An OCI layout as a tar archive (`oci-archive:` in other tools) can be saved and
//! loaded, the output of `docker save` (`docker-archive:`) can be loaded.

mod docker;
mod layout;
mod load;
pub(crate) mod pax;
mod save;
mod tarball;

pub use load::{Decompress, LoadOptions};
