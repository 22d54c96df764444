//! A bundle: what the runtime is handed.

use std::path::PathBuf;

use oci_spec::runtime::Spec;

/// A container to be: a directory and what its `config.json` says, runtime-spec bundle.md. Who made it does not matter.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The container's id, as hooks are told it; the default control group is named after it.
    pub id: String,
    /// The directory, which relative paths of the spec start from. Absolute.
    pub directory: PathBuf,
    /// The runtime spec.
    pub spec: Spec,
}
