//! Images as single files, to be moved between machines: the OCI layout as a tar archive (`oci-archive:` of other
//! tools) both ways, and what `docker save` writes (`docker-archive:`) on the way in.

mod docker;
mod layout;
mod load;
pub(crate) mod pax;
mod save;
mod tarball;

pub use load::{Decompress, LoadOptions};
