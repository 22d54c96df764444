//! `box import`.

use std::io::{Read, Write};

use box_cache::{Cache, Digest, Platform};
use box_pull::{BoxError, Import, Input, Location};
use box_unpack::Limits;

use crate::bars::Bars;
use crate::commands::images::list;
use crate::image::decoded::Decoded;
use crate::image::fetch::FetchArgs;
use crate::image::layers;
use crate::image::trust::vouched;
use crate::output::Format;
use crate::report::Failure;
use crate::settings::Settings;
use crate::{options, output};

/// Creates an image from a tarball of a root filesystem: plain, gzip, zstd, xz or bzip2.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box import debian.tar.zst debian:13\n  mmdebstrap trixie | box import - debian:13 --cmd /bin/bash"
)]
pub struct Args {
    /// The tarball: a file, a http, https or file URL, or - for stdin
    #[arg(value_name = "FILE|URL|-")]
    input: String,
    /// Name of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Expected SHA-256 of the tarball
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,
    /// Default command of the image: words, or a JSON array of strings [default: /bin/sh]
    #[arg(long, value_name = "COMMAND")]
    cmd: Option<String>,
    /// Architecture of the files in the tarball [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// Print text or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    fetch: FetchArgs,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let platform = args.arch.clone().unwrap_or_else(Platform::host);
    let reference = options::reference(&args.image)?;
    if reference.digest().is_some() {
        return Err(options::refused(
            "IMAGE",
            &args.image,
            "the digest of a new image cannot be chosen",
        )
        .hint("name it like debian:13; give the tarball's digest with --sha256"));
    }
    let import = Import {
        input: input(&args.input)?,
        reference,
        sha256: args.sha256.as_deref().map(sha256).transpose()?,
        command: args
            .cmd
            .as_deref()
            .map(command)
            .transpose()?
            .unwrap_or_default(),
    };
    let options = args.fetch.plain(settings, &platform)?;
    let cache = Cache::open(&settings.dirs.cache)?;
    let bars = Bars::new(settings);
    let sink = layers::sink(settings);
    let imported = box_pull::import(&cache, import, &options, sink.as_ref(), &decompress, &bars);
    let image = imported.map_err(|error| match error {
        // No mirror is involved: the location itself is wrong.
        box_pull::Error::Unreachable { .. } => {
            Failure::from_error(&error).hint("give the path of a tarball, its URL, or - for stdin")
        }
        error => error.into(),
    })?;
    match args.format {
        _ if settings.quiet => output::line(&image.manifest_digest.to_string())?,
        Format::Json => output::json(&list::Row::of(&image))?,
        Format::Table => output::line(&format!(
            "{}: sha256:{}, {}, {}",
            image.reference,
            image.manifest_digest.short(),
            output::size(image.size),
            vouched(&image.provenance.verified),
        ))?,
    }
    Ok(0)
}

fn input(text: &str) -> Result<Input, Failure> {
    Ok(match text {
        "-" => Input::Stream {
            name: "stdin".to_owned(),
            bytes: Box::new(std::io::stdin()),
        },
        url if url.contains("://") => Input::Location(location(url)?),
        path => {
            Input::Location(Location::File(std::path::absolute(path).map_err(|_| {
                options::refused("FILE", path, "expected the name of a file")
            })?))
        }
    })
}

fn location(url: &str) -> Result<Location, box_pull::Error> {
    Ok(url.parse::<Location>()?)
}

fn sha256(text: &str) -> Result<Digest, Failure> {
    let digits = text
        .strip_prefix("sha256:")
        .unwrap_or(text)
        .to_ascii_lowercase();
    Digest::from_sha256_hex(&digits)
        .map_err(|_| options::refused("--sha256", text, "expected 64 hexadecimal digits"))
}

/// A command as in the CMD of a Dockerfile: a JSON array, or words separated by spaces.
fn command(text: &str) -> Result<Vec<String>, Failure> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|_| options::refused("--cmd", text, "expected a JSON array of strings"));
    }
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Unpacks a compressed stream to its plain bytes.
fn decompress(from: &mut dyn Read, to: &mut dyn Write) -> Result<(), BoxError> {
    std::io::copy(&mut Decoded::new(from, Limits::default()), to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_command_is_words_or_an_array() {
        assert_eq!(command(" /bin/bash  -l ").unwrap(), ["/bin/bash", "-l"]);
        assert_eq!(
            command(r#"["sh", "-c", "a b"]"#).unwrap(),
            ["sh", "-c", "a b"]
        );
        assert!(command("[sh]").is_err());
    }

    #[test]
    fn a_digest_may_go_without_its_algorithm() {
        let hex = "Ab".repeat(32);
        assert_eq!(
            sha256(&hex).unwrap(),
            sha256(&format!("sha256:{hex}")).unwrap()
        );
        assert!(sha256("abc").is_err());
    }
}
