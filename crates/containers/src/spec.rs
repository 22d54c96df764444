//! The OCI runtime spec of a container, from an image's config and the flags. Touches no files.

pub mod etc;
mod linux;
pub mod masked;
mod mounts;
pub mod overrides;
mod process;

use std::collections::HashMap;

use box_run::seccomp::DEFAULT_ANNOTATION;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{Mount, Root, Spec};

use crate::Error;
use crate::accounts::Identity;
use linux::linux;
pub(crate) use mounts::ETC_FILES;
pub use mounts::mounts;
use overrides::{Overrides, Seccomp, Sharing};
use process::process;

/// The annotation with the stop signal, from conversion.md of the image specification.
pub const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// Builds the spec of a container. Relative sources of bind mounts are files of the bundle.
pub fn build(image: &ImageConfiguration, asked: &Overrides) -> Result<Spec, Error> {
    let identity = identity(image, asked)?;
    let mut spec = Spec::default();
    spec.set_version("1.1.0".to_owned());
    let mut root = Root::default();
    root.set_path("rootfs".into());
    root.set_readonly(Some(asked.read_only));
    spec.set_root(Some(root));
    spec.set_hostname((asked.uts == Sharing::Private).then(|| hostname(asked).to_owned()));
    spec.set_domainname(
        asked
            .domainname
            .clone()
            .filter(|_| asked.uts == Sharing::Private),
    );
    spec.set_mounts(Some(mounts(asked)));
    spec.set_process(Some(process(image, asked, &identity)?));
    spec.set_linux(Some(linux(asked)?));
    spec.set_hooks(asked.hooks.clone());
    let mut annotations: HashMap<_, _> = asked.annotations.clone().into_iter().collect();
    let from_image = image
        .config()
        .as_ref()
        .and_then(|config| config.stop_signal().as_ref());
    if let Some(signal) = asked.stop_signal.as_ref().or(from_image) {
        annotations.insert(STOP_SIGNAL.to_owned(), signal.clone());
    }
    if asked.seccomp == Seccomp::Default {
        annotations.insert(
            DEFAULT_ANNOTATION.0.to_owned(),
            DEFAULT_ANNOTATION.1.to_owned(),
        );
    }
    spec.set_annotations((!annotations.is_empty()).then_some(annotations));
    Ok(spec)
}

/// Whether the spec mounts a tmpfs on /dev before it mounts files of the bundle.
pub(crate) fn has_own_dev(spec: &Spec) -> bool {
    let mounts = spec.mounts().as_deref().unwrap_or(&[]);
    let is_dev = |mount: &Mount| mount.destination() == std::path::Path::new("/dev");
    let is_ours = |mount: &Mount| {
        let source = mount.source().as_ref();
        mount.typ().as_deref() == Some("bind") && source.is_some_and(|source| source.is_relative())
    };
    let first = mounts.iter().position(is_ours).unwrap_or(mounts.len());
    mounts
        .iter()
        .rposition(is_dev)
        .is_some_and(|at| at < first && mounts[at].typ().as_deref() == Some("tmpfs"))
}

/// The hostname of the container.
pub fn hostname(asked: &Overrides) -> &str {
    asked.hostname.as_deref().unwrap_or("container")
}

fn identity(image: &ImageConfiguration, asked: &Overrides) -> Result<Identity, Error> {
    let from_image = image
        .config()
        .as_ref()
        .and_then(|config| config.user().as_deref());
    let user = asked.user.as_deref().or(from_image).unwrap_or("");
    asked.accounts.resolve(user, &asked.groups)
}
