//! Any root filesystem as an image: a tarball from a file, a URL or a stream.

use std::io::{Read, Write};
use std::time::SystemTime;

use box_cache::{
    Cache, Claim, Digest, Expected, Image, Partial, PartialKey, Progress, Provenance, Reference,
    Verified,
};

use crate::BoxError;
use crate::download::{Download, Downloaded, Wanted};
use crate::error::{Error, Result};
use crate::fetch::Opened;
use crate::image::{self, PLAIN, Packing, Rootfs, head_of};
use crate::layer::LayerSink;
use crate::mirror::Location;
use crate::options::Options;
use crate::pull::SHELL;
use crate::remote::Remote;

/// What to make an image of.
pub struct Import {
    /// The tarball.
    pub input: Input,
    /// What the image will be listed as.
    pub reference: Reference,
    /// What the tarball's digest must be, if that is known.
    pub sha256: Option<Digest>,
    /// What the image starts; a shell where it is empty.
    pub command: Vec<String>,
}

/// Where a tarball comes from.
pub enum Input {
    /// A file or a URL.
    Location(Location),
    /// Something that can be read once.
    Stream {
        /// Its name, for messages and as the image's origin.
        name: String,
        /// Its bytes.
        bytes: Box<dyn Read>,
    },
}

/// Unpacks a compressed stream of whatever format to its plain bytes.
pub type Decompress<'a> = &'a dyn Fn(&mut dyn Read, &mut dyn Write) -> Result<(), BoxError>;

/// Makes an image of a tarball. Packed as gzip or zstd, or not at all, it becomes the image's layer byte for byte;
/// otherwise (xz, bzip2) its plain archive does, as no OCI layer may be packed like that.
pub fn import(
    cache: &Cache,
    import: Import,
    options: &Options,
    sink: &dyn LayerSink,
    decompress: Decompress<'_>,
    progress: &dyn Progress,
) -> Result<Image> {
    let wanted = Wanted {
        name: import.reference.to_string(),
        size: None,
        sha256: import.sha256,
        sha512: None,
        limit: options.max_size,
    };
    let got = get(cache, import.input, &wanted, options, sink, progress)?;
    let command = match import.command.is_empty() {
        true => vec![SHELL.to_owned()],
        false => import.command,
    };
    let diff_id = *got.layer.diff_id();
    let packing = Packing::detect(&head_of(got.partial.reader()?)?);
    let (partial, layer) = match packing {
        Packing::Layer(media_type) => {
            let layer = Rootfs {
                digest: got.digest,
                size: got.size,
                media_type,
                diff_id,
            };
            (got.partial, layer)
        }
        Packing::Other => {
            let plain = decompressed(cache, &got.partial, decompress, &got.url)?;
            got.partial.discard()?;
            let layer = Rootfs {
                digest: diff_id.0,
                size: plain.length(),
                media_type: PLAIN,
                diff_id,
            };
            (plain, layer)
        }
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let provenance = Provenance {
        url: got.url,
        fetched: now.map_or(0, |since| since.as_secs()),
        verified: if import.sha256.is_some() {
            Verified::Digest
        } else {
            Verified::Unverified
        },
        version: None,
    };
    let new = image::image(
        import.reference.clone(),
        &options.platform,
        layer,
        &command,
        provenance,
    );
    let expected = Expected {
        digest: Some(layer.digest),
        size: Some(layer.size),
    };
    let whole = partial.check(&expected)?;
    let hold = cache.hold()?;
    image::publish(cache, &hold, new, Some(whole), Some(got.layer))
}

fn get(
    cache: &Cache,
    input: Input,
    wanted: &Wanted,
    options: &Options,
    sink: &dyn LayerSink,
    progress: &dyn Progress,
) -> Result<Downloaded> {
    let start = |key| Download::new(wanted, turn(cache, key)?, sink, progress);
    let location = match input {
        Input::Stream { name, bytes } => {
            return start(&PartialKey::Anonymous)?.take_stream(Opened::stream(&name, bytes));
        }
        Input::Location(location) => location,
    };
    // The very file may be in the cache already.
    if let Some(digest) = wanted.sha256
        && cache.has_blob(&digest)?.is_some()
    {
        let opened = Opened::stream(&location.to_string(), Box::new(cache.open_blob(&digest)?));
        return start(&PartialKey::Anonymous)?.take_stream(opened);
    }
    let key = match &location {
        Location::File(_) => PartialKey::Anonymous,
        Location::Http(_) if options.offline => {
            return Err(Error::Offline {
                reference: wanted.name.clone(),
                cached: Vec::new(),
            });
        }
        Location::Http(_) => PartialKey::Source(location.to_string()),
    };
    let remote = Remote::new(options, progress);
    let what = wanted.name.clone();
    start(&key)?
        .fetch(&remote.fetcher, &[location])?
        .map_err(|tried| Error::Unreachable { what, tried })
}

/// The turn at a download that no blob can stand for.
fn turn(cache: &Cache, key: &PartialKey) -> Result<Partial> {
    loop {
        let claim = cache.partial(key, &mut |_| std::ops::ControlFlow::Continue(()))?;
        if let Claim::Partial(partial) = claim {
            return Ok(*partial);
        }
    }
}

/// The plain archive of a packed one.
fn decompressed(
    cache: &Cache,
    packed: &Partial,
    decompress: Decompress<'_>,
    what: &str,
) -> Result<Partial> {
    let mut plain = turn(cache, &PartialKey::Anonymous)?;
    decompress(&mut packed.reader()?, &mut plain).map_err(|source| Error::Layer {
        what: what.to_owned(),
        source,
    })?;
    Ok(plain)
}
