//! Candidates for shell completion: names of containers and references of images.

use clap_complete::CompletionCandidate;

use crate::options::globals::Globals;
use crate::settings::Settings;

/// The names of all containers, described by image and state.
pub fn names() -> Vec<CompletionCandidate> {
    // A shell cannot show an error: without settings there are no candidates.
    let Ok(settings) = Settings::read(&Globals::default()) else {
        return Vec::new();
    };
    let Ok(containers) = settings.containers().list() else {
        return Vec::new();
    };
    let candidate = |container: box_containers::Container| {
        let status = container
            .status()
            .map_or(String::new(), |status| status.to_string());
        let help = format!("{} ({status})", container.record().image);
        CompletionCandidate::new(container.name()).help(Some(help.into()))
    };
    containers.into_iter().map(candidate).collect()
}

/// The references of all cached images.
pub fn references() -> Vec<CompletionCandidate> {
    let Ok(settings) = Settings::read(&Globals::default()) else {
        return Vec::new();
    };
    let Ok(images) = box_cache::Cache::open_existing(&settings.dirs.cache).images() else {
        return Vec::new();
    };
    let mut references: Vec<String> = images
        .iter()
        .map(|image| image.reference.to_string())
        .collect();
    references.dedup();
    references
        .into_iter()
        .map(CompletionCandidate::new)
        .collect()
}

/// Both of them.
pub fn names_and_references() -> Vec<CompletionCandidate> {
    let mut all = names();
    all.extend(references());
    all
}
