//! Mirrors that can be asked: one after the other, as they hold the same files under the same paths.

use box_cache::Progress;
use box_transfer::{Attempts, Cause, Fetcher, Location};

use crate::error::Result;
use crate::listing;
use crate::mirror::Mirror;
use crate::options::Options;
use crate::resolved::Sidecar;

/// Largest listing of a directory that is read, in bytes.
const LISTING_LIMIT: u64 = 2 << 20;

/// The mirrors of the options, and a client to ask them. It keeps a thread alive until it is dropped.
pub(crate) struct Mirrors<'a> {
    mirrors: &'a [Mirror],
    pub fetcher: Fetcher<'a>,
}

impl<'a> Mirrors<'a> {
    /// Connects to nothing yet.
    pub fn new(options: &'a Options, progress: &'a dyn Progress) -> Self {
        Self {
            mirrors: &options.mirrors,
            fetcher: Fetcher::new(&options.http, &options.retry, progress),
        }
    }

    /// Where `path` is on each mirror.
    pub fn locations(&self, path: &str) -> Vec<Location> {
        self.mirrors.iter().map(|mirror| mirror.at(path)).collect()
    }

    /// The file `path` as a sidecar.
    pub fn sidecar(&self, path: String) -> Sidecar {
        Sidecar {
            locations: self.locations(&path),
            name: path,
        }
    }

    /// A small document of at most `limit` bytes, and the URL it came from; see [`Fetcher::document`].
    pub fn document<T>(
        &self,
        path: &str,
        limit: u64,
        read: impl Fn(&[u8]) -> Result<T, Cause>,
    ) -> Result<Result<(T, String), Attempts>> {
        Ok(self.fetcher.document(&self.locations(path), limit, read)?)
    }

    /// Names in the directory `path` (empty, or with a slash at its end) of the first mirror that lists it. There are no
    /// retries, as a listing only helps to word a message or to fill a list.
    pub fn listing(&self, path: &str) -> Result<Option<Vec<String>>> {
        for location in self.locations(path) {
            let names = match &location {
                Location::File(dir) => listing::of_directory(dir).ok(),
                Location::Http(_) => match self.fetcher.small(&location, LISTING_LIMIT)? {
                    Ok((page, _)) => Some(listing::of_page(&String::from_utf8_lossy(&page))),
                    Err(_) => None,
                },
            };
            if let Some(names) = names.filter(|names| !names.is_empty()) {
                return Ok(Some(names));
            }
        }
        Ok(None)
    }
}
