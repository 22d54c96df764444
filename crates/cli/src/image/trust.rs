//! Decides whether an image may be used. This is decided where it is used, whatever its name and however it came into the cache.
//!
//! The cache's `index.json` records how an image was verified. Only box writes that record, after it has compared the image with a
//! publisher's signature; it cannot come from an archive, a name or a label. The record is as trustworthy as the users who can write
//! to the cache: if other users can, it is ignored here.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use box_cache::{Cache, Image, Reference, Verified};
use box_containers::Container;
use box_pull::VerifyPolicy;

use crate::image::fetch;
use crate::report::{Failure, cause};
use crate::settings::Settings;

/// Refuses an image without a trusted publisher's signature, if the policy requires one.
pub fn judge(settings: &Settings, policy: VerifyPolicy, image: &Image) -> Result<(), Failure> {
    admit(
        settings,
        policy,
        image,
        "use it without a signature: --verify prefer",
    )
}

/// Like [`judge`]. `hint` says how to use the image without a signature.
fn admit(
    settings: &Settings,
    policy: VerifyPolicy,
    image: &Image,
    hint: &str,
) -> Result<(), Failure> {
    if policy != VerifyPolicy::Require {
        return Ok(());
    }
    let reference = &image.reference;
    if !policy.admits(&image.provenance.verified, &fetch::keyring(settings)?) {
        let from = match image.provenance.url.as_str() {
            "" => String::new(),
            url => format!(" (it came from {url})"),
        };
        return Err(Failure::new(format!(
            "cannot use {reference}: a trusted publisher's signature is required, and it is {}{from}",
            vouched(&image.provenance.verified)
        ))
        .hint(hint));
    }
    match doubt(&settings.dirs.cache)? {
        None => Ok(()),
        Some(why) => Err(Failure::new(format!(
            "cannot use {reference}: a trusted publisher's signature is required, and the cache {} is not trusted to record one: {why}",
            settings.dirs.cache.display()
        ))
        .hint("use a cache of your own: --cache DIR")),
    }
}

/// Refuses to start a container if the settings require a signature and its image has none now.
pub fn judge_container(settings: &Settings, container: &Container) -> Result<(), Failure> {
    let policy = settings.verify()?;
    if policy != VerifyPolicy::Require {
        return Ok(());
    }
    let record = container.record();
    let gone = || {
        let image = &record.image;
        Failure::new(format!(
            "cannot start {}: a trusted publisher's signature is required, and its image {image} is no longer in the cache",
            container.name()
        ))
        .hint(format!("fetch it again: box pull {image}"))
    };
    let manifest = record.manifest.as_deref().ok_or_else(gone)?.parse()?;
    let reference: Reference = record.image.parse()?;
    let named = reference.without_digest().with_digest(manifest);
    let images = Cache::open_existing(&settings.dirs.cache).find_all(&named)?;
    let image = images
        .iter()
        .find(|image| image.manifest_digest == manifest);
    // The commands that start a container have no flag for this.
    let hint = "start it without a signature: BOX_VERIFY=prefer";
    admit(settings, policy, image.ok_or_else(gone)?, hint)
}

/// How an image was verified, as part of a sentence.
pub fn vouched(how: &Verified) -> String {
    match how {
        Verified::Signature { fingerprint } => {
            format!("verified by the signature of {fingerprint}")
        }
        Verified::Checksum => "verified by checksum only".to_owned(),
        Verified::Digest => "verified by the digest asked for".to_owned(),
        Verified::Unverified => "not verified".to_owned(),
    }
}

/// Why the records of a cache could be those of another user, if so.
fn doubt(cache: &Path) -> Result<Option<String>, Failure> {
    let user = rustix::process::geteuid().as_raw();
    for name in ["", "index.json", "lookup"] {
        let path = cache.join(name);
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Failure::new(format!(
                    "cannot look up {}: {}",
                    path.display(),
                    cause(&error)
                )));
            }
        };
        if ![0, user].contains(&metadata.uid()) {
            return Ok(Some(format!("user {} can write to it", metadata.uid())));
        }
        if metadata.mode() & 0o022 != 0 {
            return Ok(Some(
                "users other than its owner can write to it".to_owned(),
            ));
        }
    }
    Ok(None)
}
