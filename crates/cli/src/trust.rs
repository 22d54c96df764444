//! Whether an image may be used: judged where it is used, whatever it is called and however it came into the cache.
//!
//! What vouches for an image stands in the cache's `index.json`, and box alone writes it there: after it compared the bytes with
//! a publisher's signature. No archive, no name and no label can bring it along. So its word counts as much as that of
//! who can write to the cache: where that is somebody else, it counts for nothing here.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use box_cache::{Cache, Image, Reference, Verified};
use box_pull::VerifyPolicy;
use box_run::Instance;

use crate::fetch;
use crate::report::{Failure, cause};
use crate::settings::Settings;

/// Refuses an image that no trusted publisher has signed, where a signature is demanded.
pub fn judge(settings: &Settings, policy: VerifyPolicy, image: &Image) -> Result<(), Failure> {
    admit(settings, policy, image, "use it as it is: --verify prefer")
}

/// As [`judge`]; `way` is the hint of how to do without.
fn admit(
    settings: &Settings,
    policy: VerifyPolicy,
    image: &Image,
    way: &str,
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
        .hint(way));
    }
    match doubt(&settings.dirs.cache)? {
        None => Ok(()),
        Some(why) => Err(Failure::new(format!(
            "cannot use {reference}: a trusted publisher's signature is required, and what the cache {} says of signatures does not \
             count: {why}",
            settings.dirs.cache.display()
        ))
        .hint("use a cache of your own: --cache DIR")),
    }
}

/// Refuses to start a container whose image nobody vouches for now, where the settings demand a signature.
pub fn judge_container(settings: &Settings, instance: &Instance) -> Result<(), Failure> {
    let policy = settings.verify()?;
    if policy != VerifyPolicy::Require {
        return Ok(());
    }
    let record = instance.record();
    let gone = || {
        let image = &record.image;
        Failure::new(format!(
            "cannot start {}: a trusted publisher's signature is required, and its image {image} is no longer in the cache",
            instance.name()
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
    // The verbs that start a container have no flag for it.
    let way = "start it as it is: BOX_VERIFY=prefer";
    admit(settings, policy, image.ok_or_else(gone)?, way)
}

/// What vouches for an image, as part of a sentence.
pub fn vouched(how: &Verified) -> String {
    match how {
        Verified::Signature { fingerprint } => {
            format!("verified by the signature of {fingerprint}")
        }
        Verified::Checksum => "verified by checksum alone".to_owned(),
        Verified::Digest => "verified by the digest asked for".to_owned(),
        Verified::Unverified => "not verified".to_owned(),
    }
}

/// Why what a cache says of its images could be somebody else's word.
fn doubt(cache: &Path) -> Result<Option<String>, Failure> {
    let user = rustix::process::geteuid().as_raw();
    for name in ["", "index.json", "lookup"] {
        let path = cache.join(name);
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Failure::new(format!(
                    "look up {}: {}",
                    path.display(),
                    cause(&error)
                )));
            }
        };
        if ![0, user].contains(&metadata.uid()) {
            return Ok(Some(format!("user {} can write to it", metadata.uid())));
        }
        if metadata.mode() & 0o022 != 0 {
            return Ok(Some("others than its owner can write to it".to_owned()));
        }
    }
    Ok(None)
}
