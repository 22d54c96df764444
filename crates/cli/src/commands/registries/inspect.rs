//! `box inspect --remote`.

use box_cache::Platform;
use box_registry::Registry;
use oci_spec::image::ImageConfiguration;
use serde::Serialize;

use crate::bars::Bars;
use crate::image::fetch::registry::RegistryArgs;
use crate::image::remote;
use crate::options;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// An image in a registry. Stable, documented in docs/cli.md.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "remote")]
struct RemoteView {
    reference: String,
    /// Of what the name stands for: an index, if there is one.
    digest: String,
    media_type: String,
    platform: String,
    platforms: Vec<String>,
    manifest_digest: String,
    config_digest: String,
    size: u64,
    layers: Vec<LayerView>,
    config: ImageConfiguration,
}

#[derive(Serialize)]
struct LayerView {
    digest: String,
    size: u64,
    media_type: String,
}

/// Prints what registries say of images, without pulling them.
pub fn run(
    names: &[String],
    arch: Option<&Platform>,
    args: &RegistryArgs,
    settings: &Settings,
) -> Result<u8, Failure> {
    let options = args.options(settings)?;
    let bars = Bars::new(settings);
    let session = Registry::new(&options, &bars);
    let wanted = arch.cloned().unwrap_or_else(Platform::host);
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match view(&session, name, &wanted) {
            Ok(view) => found.push(view),
            Err(failure) => failures.push(failure),
        }
    }
    drop(session);
    drop(bars);
    output::json(&found)?;
    Failure::all(failures)
}

fn view(session: &Registry<'_>, name: &str, wanted: &Platform) -> Result<RemoteView, Failure> {
    let reference = options::reference(name)?;
    let from = session.repository(&remote::repository(&reference)?)?;
    let found = remote::find(&from, &reference, wanted)?;
    let config = remote::config(&from, &found.manifest)?;
    let layers = found.manifest.layers().iter().map(|layer| LayerView {
        digest: layer.digest().to_string(),
        size: layer.size(),
        media_type: layer.media_type().to_string(),
    });
    let layers: Vec<LayerView> = layers.collect();
    let stored = layers.iter().map(|layer| layer.size);
    let documents = found.document().bytes.len() as u64 + found.manifest.config().size();
    Ok(RemoteView {
        reference: reference.to_string(),
        digest: found.top.digest.to_string(),
        media_type: found.top.media_type.clone(),
        platform: remote::platform(&config).to_string(),
        platforms: found.platforms.iter().map(Platform::to_string).collect(),
        manifest_digest: found.document().digest.to_string(),
        config_digest: found.manifest.config().digest().to_string(),
        size: stored.fold(documents, u64::saturating_add),
        layers,
        config,
    })
}
