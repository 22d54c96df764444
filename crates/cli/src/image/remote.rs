//! Images in registries, without pulling them.

use box_cache::{Digest, Platform, Reference};
use box_registry::{Document, Parsed, Repository, RepositoryName, Wanted};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};

use crate::report::Failure;

/// How deep an index may lie in others.
const DEPTH: usize = 4;

/// The largest config in bytes.
const MAX_CONFIG: u64 = 8 << 20;

/// A manifest in a registry, and how it was found.
pub struct Found {
    /// What the name stands for: a manifest or an index.
    pub top: Document,
    /// The platforms of the index, in its order; empty for a single manifest.
    pub platforms: Vec<Platform>,
    /// The manifest for the platform, where it is not the document itself.
    pub chosen: Option<Document>,
    /// What the manifest says.
    pub manifest: ImageManifest,
}

impl Found {
    /// The manifest of the image.
    pub fn document(&self) -> &Document {
        self.chosen.as_ref().unwrap_or(&self.top)
    }
}

/// The name of a reference's repository; those of Alpine's releases have none.
pub fn repository(reference: &Reference) -> Result<RepositoryName, Failure> {
    RepositoryName::of(reference).ok_or_else(|| {
        Failure::new(format!(
            "cannot ask a registry for {reference}: Alpine's own releases are in no registry"
        ))
        .hint(format!(
            "docker's image of that name is docker.io/library/{reference}"
        ))
    })
}

/// What a reference stands for, byte for byte.
pub fn document(from: &Repository<'_>, reference: &Reference) -> Result<Document, Failure> {
    let wanted = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Wanted::Digest(digest),
        (None, tag) => Wanted::Tag(tag.unwrap_or("latest")),
    };
    Ok(from.manifest(wanted)?)
}

/// The image for a platform that a reference stands for.
pub fn find(
    from: &Repository<'_>,
    reference: &Reference,
    wanted: &Platform,
) -> Result<Found, Failure> {
    let top = document(from, reference)?;
    let (mut platforms, mut chosen) = (Vec::new(), None);
    for _ in 0..DEPTH {
        match chosen.as_ref().unwrap_or(&top).parse()? {
            Parsed::Image(manifest) => {
                return Ok(Found {
                    top,
                    platforms,
                    chosen,
                    manifest,
                });
            }
            Parsed::Index(index) => {
                platforms.extend(known(&index).map(|(platform, _)| platform));
                let digest =
                    best(&index, wanted).ok_or_else(|| absent(reference, wanted, &platforms))?;
                chosen = Some(from.manifest(Wanted::Digest(&digest))?);
            }
        }
    }
    Err(Failure::new(format!(
        "cannot use {reference}: its indexes are more than {DEPTH} deep"
    )))
}

/// The config of a manifest.
pub fn config(
    from: &Repository<'_>,
    manifest: &ImageManifest,
) -> Result<ImageConfiguration, Failure> {
    let bytes = from.blob(manifest.config(), MAX_CONFIG)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(format!(
            "cannot read the config {}: {error}",
            manifest.config().digest()
        ))
    })
}

/// The platform that a config is for.
pub fn platform(config: &ImageConfiguration) -> Platform {
    Platform::new(
        &config.os().to_string(),
        &config.architecture().to_string(),
        config.variant().as_deref(),
    )
}

/// The entries of an index that are images for known platforms.
fn known(index: &ImageIndex) -> impl Iterator<Item = (Platform, &Descriptor)> {
    index.manifests().iter().filter_map(|entry| {
        let platform = entry.platform().as_ref()?;
        let variant = platform.variant().as_deref();
        let (os, architecture) = (
            platform.os().to_string(),
            platform.architecture().to_string(),
        );
        let platform = Platform::new(&os, &architecture, variant);
        (!platform.is_unknown()).then_some((platform, entry))
    })
}

fn best(index: &ImageIndex, wanted: &Platform) -> Option<Digest> {
    let fitting =
        known(index).filter_map(|(platform, entry)| Some((wanted.accepts(&platform)?, entry)));
    let (_, entry) = fitting.min_by_key(|(rank, _)| *rank)?;
    entry.digest().to_string().parse().ok()
}

fn absent(reference: &Reference, wanted: &Platform, platforms: &[Platform]) -> Failure {
    let all: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    let all = match all.is_empty() {
        true => "none that is known".to_owned(),
        false => all.join(", "),
    };
    Failure::new(format!("{reference}: no image for {wanted}: it has {all}"))
        .hint("choose one of them with --arch")
}
