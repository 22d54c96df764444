//! Decides whether an image may be used. This is decided where it is used, whatever its name and however it came into the cache.
//!
//! The cache's `index.json` records how an image was verified. Only box writes that record, after it has compared the image with a
//! publisher's signature; it cannot come from an archive, a name or a label. The record is as trustworthy as the users who can write
//! to the cache: if other users can, it is ignored here.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use box_cache::{Cache, Image, Reference, Verified};
use box_containers::Container;
use box_pull::{Keyring, Policy, PublicKey, Refusal, Signers, VerifyPolicy};

use crate::files::ownership;
use crate::image::fetch;
use crate::report::{Failure, cause};
use crate::settings::Settings;
use crate::settings::config::{Rule, RuleKind};

/// What to do about a refusal by the policy; no flag lifts it.
const IN_POLICY: &str = "the policy is in config.toml: see docs/security.md";

/// The policy of the configuration file, with its keys. A key that cannot be used makes the images of its rule unusable, and no others.
pub fn policy(settings: &Settings) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    for (scope, rule) in &settings.config.policy {
        let wrong = |why: String| {
            Failure::new(format!(
                "invalid policy for {scope:?} in config.toml: {why}"
            ))
            .hint("docs/security.md describes policies")
        };
        check(scope, rule).map_err(|why| wrong(why.to_owned()))?;
        let rule = match rule.kind {
            RuleKind::InsecureAccept => box_pull::Rule::Accept,
            RuleKind::Reject => box_pull::Rule::Reject,
            RuleKind::SignedBy => match keys(settings, rule) {
                Ok(keys) => box_pull::Rule::SignedBy(Signers {
                    keys,
                    signed_as: rule.signed_as.clone(),
                }),
                Err(failure) => box_pull::Rule::Unusable(failure.message().to_owned()),
            },
        };
        policy.add(scope, rule).map_err(wrong)?;
    }
    Ok(policy)
}

/// Refuses rules that contradict themselves.
fn check(scope: &str, rule: &Rule) -> Result<(), &'static str> {
    if !rule.roots.is_empty() {
        return Err(
            "signatures by certificates (keyless) are not supported, so roots cannot be used; name keys",
        );
    }
    match rule.kind {
        RuleKind::SignedBy if scope == "alpine" && !rule.keys.is_empty() => {
            Err("Alpine's releases are signed with OpenPGP; their keys are in trusted-keys")
        }
        RuleKind::SignedBy if scope != "alpine" && rule.keys.is_empty() => {
            Err("signed-by needs keys")
        }
        RuleKind::InsecureAccept | RuleKind::Reject
            if !rule.keys.is_empty() || rule.signed_as.is_some() =>
        {
            Err("only signed-by has keys and signed-as")
        }
        _ => Ok(()),
    }
}

/// The keys of a rule. A relative path begins in the configuration directory.
fn keys(settings: &Settings, rule: &Rule) -> Result<Vec<PublicKey>, Failure> {
    let hint = "keys must belong to root or to you, and nobody else may write to them or to their directory";
    let mut keys = Vec::new();
    for path in &rule.keys {
        let path = settings.dirs.config.join(path);
        let text = ownership::read(&path, hint)?
            .ok_or_else(|| Failure::new(format!("the key {} does not exist", path.display())))?;
        keys.push(PublicKey::from_pem(&text).map_err(|why| {
            Failure::new(format!("cannot use the key {}: {why}", path.display()))
        })?);
    }
    Ok(keys)
}

/// Refuses a name under which the policy permits nothing.
pub fn permit(settings: &Settings, reference: &Reference) -> Result<(), Failure> {
    if settings.config.policy.is_empty() {
        return Ok(());
    }
    policy(settings)?.permits(reference).map_err(|refusal| {
        Failure::new(format!("cannot use {reference}: {refusal}")).hint(IN_POLICY)
    })
}

/// Refuses an image that the policy for its name does not permit, and, if a publisher's signature is required, one without.
pub fn judge(settings: &Settings, verify: VerifyPolicy, image: &Image) -> Result<(), Failure> {
    admit(
        settings,
        verify,
        image,
        "use it without a signature: --verify prefer",
    )
}

/// Like [`judge`]. `hint` says how to use the image without a signature.
fn admit(
    settings: &Settings,
    verify: VerifyPolicy,
    image: &Image,
    hint: &str,
) -> Result<(), Failure> {
    if verify != VerifyPolicy::Require && settings.config.policy.is_empty() {
        return Ok(());
    }
    let reference = &image.reference;
    let policy = policy(settings)?;
    let cache = Cache::open_existing(&settings.dirs.cache);
    let demanded = policy.verify(reference, verify);
    let keyring = match demanded {
        VerifyPolicy::Require => fetch::keyring(settings)?,
        // Reading keys takes time, and nobody asks for them.
        VerifyPolicy::Prefer | VerifyPolicy::Off => Keyring::empty(),
    };
    match policy.judge(verify, &keyring, &cache, image) {
        Ok(()) => {}
        Err(refusal @ Refusal::NoPublisher) => {
            let from = match image.provenance.url.as_str() {
                "" => String::new(),
                url => format!(" (it came from {url})"),
            };
            let how = vouched(&image.provenance.verified);
            let failure = format!("cannot use {reference}: {refusal}, and it is {how}{from}");
            return Err(Failure::new(failure).hint(match demanded == verify {
                true => hint,
                false => IN_POLICY,
            }));
        }
        Err(refusal) => {
            let failure = Failure::new(format!("cannot use {reference}: {refusal}"));
            return Err(failure.hint(IN_POLICY));
        }
    }
    if demanded != VerifyPolicy::Require
        || matches!(image.provenance.verified, Verified::Key { .. })
    {
        // A kept signature by a key was checked just now: who can write to the cache cannot forge it.
        return Ok(());
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

/// Refuses to `action` (start, commit) a container whose image the policy does not permit, or does not have the signature that the
/// settings require.
pub fn judge_container(
    settings: &Settings,
    container: &Container,
    action: &str,
) -> Result<(), Failure> {
    let verify = settings.verify()?;
    if verify != VerifyPolicy::Require && settings.config.policy.is_empty() {
        return Ok(());
    }
    let record = container.record();
    let policy = policy(settings)?;
    let reference: Reference = record.image.parse()?;
    policy.permits(&reference).map_err(|refusal| {
        let name = container.name();
        Failure::new(format!(
            "cannot {action} {name}: {refusal} (image {reference})"
        ))
        .hint(IN_POLICY)
    })?;
    if policy.verify(&reference, verify) != VerifyPolicy::Require
        && policy.signers(&reference).is_none()
    {
        return Ok(());
    }
    let gone = || {
        let image = &record.image;
        Failure::new(format!(
            "cannot {action} {}: a trusted publisher's signature is required, and its image {image} is no longer in the cache",
            container.name()
        ))
        .hint(format!("fetch it again: box pull {image}"))
    };
    let manifest = record.manifest.as_deref().ok_or_else(gone)?.parse()?;
    let named = reference.without_digest().with_digest(manifest);
    let images = Cache::open_existing(&settings.dirs.cache).find_all(&named)?;
    let image = images
        .iter()
        .find(|image| image.manifest_digest == manifest);
    // The commands that start a container have no flag for this.
    let hint = "start it without a signature: BOX_VERIFY=prefer";
    admit(settings, verify, image.ok_or_else(gone)?, hint)
}

/// How an image was verified, as part of a sentence.
pub fn vouched(how: &Verified) -> String {
    match how {
        Verified::Signature { fingerprint } => {
            format!("verified by the signature of {fingerprint}")
        }
        Verified::Key { key, signed, .. } => format!(
            "verified by the signature of key {} for {}",
            key.get(..16).unwrap_or(key),
            format_args!("{}:{}", signed.algorithm().as_str(), signed.short())
        ),
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
