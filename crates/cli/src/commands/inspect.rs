//! `box inspect`.

use box_cache::{Cache, Image, Layer, Platform};
use box_containers::{Container, Containers};
use clap::ValueEnum;
use clap_complete::ArgValueCandidates;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Spec;
use serde::Serialize;

use crate::commands::containers::ps;
use crate::commands::images::list;
use crate::commands::registries;
use crate::image::fetch::registry::RegistryArgs;
use crate::options;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Prints all details of containers and images as a JSON array with one object for each. A name of both a container and an image
/// means the container.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  box inspect alpine\n  box inspect --remote nginx")]
pub struct Args {
    /// Names of containers, or images
    #[arg(required = true, value_name = "NAME|IMAGE", add = ArgValueCandidates::new(crate::options::completion::names_and_references))]
    names: Vec<String>,
    /// Look only for containers or only for images
    #[arg(
        long = "type",
        value_name = "container|image",
        hide_possible_values = true
    )]
    kind: Option<Kind>,
    /// Look for images in their registries, and pull nothing
    #[arg(long, conflicts_with = "kind")]
    remote: bool,
    /// With --remote: show the image for this architecture [default: this machine's]
    #[arg(long, visible_alias = "platform", requires = "remote")]
    arch: Option<Platform>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Print JSON (always the case)
    #[arg(long, value_name = "FORMAT", default_value = "json", hide = true)]
    format: crate::output::Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
}

/// One entry of the output. Stable, documented in docs/cli.md.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Found {
    Container(Box<ContainerView>),
    Image(Box<ImageView>),
}

#[derive(Serialize)]
struct ContainerView {
    #[serde(flatten)]
    row: ps::Row,
    bundle: String,
    layers: Vec<String>,
    remove: bool,
    log_path: Option<String>,
    spec: Spec,
}

#[derive(Serialize)]
struct ImageView {
    #[serde(flatten)]
    row: list::Row,
    config_digest: String,
    /// The digest of the index from which the image was chosen, if a registry served one.
    index: Option<String>,
    layers: Vec<LayerView>,
    config: ImageConfiguration,
}

#[derive(Serialize)]
struct LayerView {
    digest: String,
    size: u64,
    media_type: String,
    diff_id: String,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    if args.remote {
        return registries::inspect::run(&args.names, args.arch.as_ref(), &args.registry, settings);
    }
    let containers = settings.containers();
    let cache = Cache::open_existing(&settings.dirs.cache);
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in &args.names {
        match find(name, args.kind, &containers, &cache) {
            Ok(views) => found.extend(views),
            Err(failure) => failures.push(failure),
        }
    }
    output::json(&found)?;
    Failure::all(failures)
}

fn find(
    name: &str,
    kind: Option<Kind>,
    containers: &Containers,
    cache: &Cache,
) -> Result<Vec<Found>, Failure> {
    if kind != Some(Kind::Image) {
        match containers.get(name) {
            Ok(container) => {
                return Ok(vec![Found::Container(Box::new(container_view(
                    &container,
                )?))]);
            }
            Err(
                box_containers::Error::NoSuchContainer { .. }
                | box_containers::Error::BadName { .. },
            ) if kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let reference = options::reference(name)?;
    let images = cache.find_all(&reference)?;
    match images.is_empty() {
        true => Err(Failure::new(format!(
            "there is no container and no cached image named {name}"
        ))
        .hint("list them: box ps -a, box images")),
        false => Ok(images
            .iter()
            .map(|image| Found::Image(Box::new(view(image))))
            .collect()),
    }
}

fn container_view(container: &Container) -> Result<ContainerView, Failure> {
    let record = container.record();
    Ok(ContainerView {
        row: ps::Row::of(container)?,
        bundle: container.dir().display().to_string(),
        layers: container
            .layers()
            .trees()
            .map(|tree| tree.display().to_string())
            .collect(),
        remove: record.remove,
        log_path: container.log_path().map(|path| path.display().to_string()),
        spec: container.spec()?,
    })
}

fn view(image: &Image) -> ImageView {
    let layer = |layer: &Layer| LayerView {
        digest: layer.digest.to_string(),
        size: layer.size,
        media_type: layer.media_type.clone(),
        diff_id: layer.diff_id.to_string(),
    };
    ImageView {
        row: list::Row::of(image),
        config_digest: image.config_digest.to_string(),
        index: image
            .provenance
            .served
            .as_ref()
            .and_then(|served| Some(served.index?.to_string())),
        layers: image.layers.iter().map(layer).collect(),
        config: image.config.clone(),
    }
}
