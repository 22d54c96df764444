//! A bundle, the input of the runtime.

use std::path::PathBuf;

use oci_spec::runtime::Spec;

/// A directory and its parsed `config.json`, runtime-spec bundle.md.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The container's id: hooks receive it, and the default control group is named after it.
    pub id: String,
    /// The absolute path of the directory. Relative paths of the spec start there.
    pub directory: PathBuf,
    /// The runtime spec.
    pub spec: Spec,
}
