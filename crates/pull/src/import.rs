//! Any root filesystem as an image: a tarball from a file, a URL or a stream.

use std::io::{Read, Write};
use std::time::SystemTime;

use box_cache::{
    Cache, Claim, Digest, Expected, Image, Layer, Partial, PartialKey, Progress, Provenance,
    Reference, Verified,
};
use box_transfer::{Blob, Body, Download, Downloaded, Fetcher, Location};

use crate::BoxError;
use crate::error::{Error, Result};
use crate::image::{self, SHELL};
use crate::layer::{LayerSink, LayerTap, StagedLayer};
use crate::options::PullOptions;

/// The media type of a layer that is a plain tar archive.
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// What to make an image from.
pub struct Import {
    /// The tarball.
    pub input: Input,
    /// The reference that the image will be listed under.
    pub reference: Reference,
    /// The digest that the tarball must have, if it is known.
    pub sha256: Option<Digest>,
    /// The command that the image starts; a shell if it is empty.
    pub command: Vec<String>,
}

/// Where a tarball comes from.
pub enum Input {
    /// A file or a URL.
    Location(Location),
    /// A stream that can be read once.
    Stream {
        /// Its name, for messages and as the image's origin.
        name: String,
        /// Its bytes.
        bytes: Box<dyn Read>,
    },
}

/// Decompresses a stream of any supported format.
pub type Decompress<'a> = &'a dyn Fn(&mut dyn Read, &mut dyn Write) -> Result<(), BoxError>;

/// Makes an image from a tarball. If it is compressed with gzip or zstd, or not at all, it becomes the image's layer byte for
/// byte. Otherwise (xz, bzip2) its plain archive does, as OCI layers cannot be compressed like that.
pub fn import(
    cache: &Cache,
    import: Import,
    options: &PullOptions,
    sink: &dyn LayerSink,
    decompress: Decompress<'_>,
    progress: &dyn Progress,
) -> Result<Image> {
    let blob = Blob {
        name: import.reference.to_string(),
        size: None,
        sha256: import.sha256,
        sha512: None,
        limit: options.max_size,
    };
    let mut tap = LayerTap::start(sink, &blob.name, None)?;
    let got = get(cache, import.input, &blob, options, &mut tap, progress)?;
    let (got, tree) = tap.finish(got)?;
    let url = got.url.clone();
    let (partial, layer) = layer(cache, got, tree.as_ref(), decompress)?;
    let command = match import.command.is_empty() {
        true => vec![SHELL.to_owned()],
        false => import.command,
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let provenance = Provenance {
        url,
        fetched: now.map_or(0, |since| since.as_secs()),
        verified: match import.sha256 {
            Some(_) => Verified::Digest,
            None => Verified::Unverified,
        },
        version: None,
        served: None,
    };
    let expected = Expected {
        digest: Some(layer.digest),
        size: Some(layer.size),
    };
    let platform = &options.platform;
    let new = image::image(
        import.reference,
        platform,
        vec![layer],
        &command,
        provenance,
    );
    let whole = partial.check(&expected)?;
    let hold = cache.hold()?;
    let new = image::Documents::Made(Box::new(new));
    image::publish(cache, &hold, new, vec![whole], vec![tree])
}

fn get(
    cache: &Cache,
    input: Input,
    blob: &Blob,
    options: &PullOptions,
    tap: &mut LayerTap<'_>,
    progress: &dyn Progress,
) -> Result<Downloaded> {
    let start = |key, tap| -> Result<Download<'_>> {
        Ok(Download::new(blob, claim(cache, key)?, tap, progress))
    };
    let unreachable = |attempts| Error::Unreachable {
        what: blob.name.clone(),
        attempts,
    };
    let location = match input {
        Input::Stream { name, bytes } => {
            let download = start(&PartialKey::Anonymous, tap)?;
            return download
                .read(Body::stream(&name, bytes))?
                .map_err(unreachable);
        }
        Input::Location(location) => location,
    };
    // The very file may be in the cache already.
    if let Some(digest) = blob.sha256
        && cache.has_blob(&digest)?.is_some()
    {
        let body = Body::stream(&location.to_string(), Box::new(cache.open_blob(&digest)?));
        let download = start(&PartialKey::Anonymous, tap)?;
        return download.read(body)?.map_err(unreachable);
    }
    let key = match &location {
        Location::File(_) => PartialKey::Anonymous,
        Location::Http(_) if options.offline => {
            return Err(Error::OfflineFetch(location.to_string()));
        }
        Location::Http(_) => PartialKey::Source(location.to_string()),
    };
    let fetcher = Fetcher::new(&options.http, &options.retry, progress);
    start(&key, tap)?
        .fetch(&fetcher, &[location])?
        .map_err(unreachable)
}

/// The layer that a tarball becomes, and its bytes.
fn layer(
    cache: &Cache,
    got: Downloaded,
    tree: &dyn StagedLayer,
    decompress: Decompress<'_>,
) -> Result<(Partial, Layer)> {
    let diff_id = *tree.diff_id();
    let compression = image::compression_of(got.partial.reader()?)?;
    let (partial, digest, media_type) = match compression.layer_media_type() {
        Some(media_type) => (got.partial, got.digest, media_type),
        None => {
            let plain = decompressed(cache, &got.partial, decompress, &got.url)?;
            got.partial.discard()?;
            (plain, diff_id.0, PLAIN)
        }
    };
    let layer = Layer {
        digest,
        size: partial.length(),
        media_type: media_type.to_owned(),
        diff_id,
    };
    Ok((partial, layer))
}

/// Claims a download that no blob can stand for.
fn claim(cache: &Cache, key: &PartialKey) -> Result<Partial> {
    loop {
        let claim = cache.partial(key, &mut |_| std::ops::ControlFlow::Continue(()))?;
        if let Claim::Partial(partial) = claim {
            return Ok(*partial);
        }
    }
}

/// The plain archive of a compressed one.
fn decompressed(
    cache: &Cache,
    packed: &Partial,
    decompress: Decompress<'_>,
    what: &str,
) -> Result<Partial> {
    let mut plain = claim(cache, &PartialKey::Anonymous)?;
    decompress(&mut packed.reader()?, &mut plain).map_err(Error::layer(what))?;
    Ok(plain)
}
