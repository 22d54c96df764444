//! Words for shells that complete what is being typed: names of containers and references of images.

use clap::CommandFactory;
use clap_complete::{CompleteEnv, CompletionCandidate};

use crate::args::{Args, Globals};
use crate::commands::completions::VARIABLE;
use crate::containers;
use crate::settings::Settings;

/// Answers a shell that asks, and ends the process; returns where none does.
pub fn answer() {
    if std::env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(Args::command)
            .var(VARIABLE)
            .complete();
    }
}

/// All containers, with their state.
pub fn names() -> Vec<CompletionCandidate> {
    // A shell shows no error: where nothing can be read there is nothing to offer.
    let Ok(settings) = Settings::read(&Globals::default()) else {
        return Vec::new();
    };
    let Ok(instances) = containers::open(&settings).list() else {
        return Vec::new();
    };
    let candidate = |instance: box_containers::Instance| {
        let status = instance
            .status()
            .map_or(String::new(), |status| status.to_string());
        let help = format!("{} ({status})", instance.record().image);
        CompletionCandidate::new(instance.name()).help(Some(help.into()))
    };
    instances.into_iter().map(candidate).collect()
}

/// All images in the cache.
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

/// Both.
pub fn names_and_references() -> Vec<CompletionCandidate> {
    let mut all = names();
    all.extend(references());
    all
}
