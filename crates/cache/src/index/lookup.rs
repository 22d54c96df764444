//! Answers derived from the index, one small file per reference, so that finding an image costs the same in a cache of one
//! image and in a cache of a thousand.
//!
//! The files are `lookup/<stamp of the index>/<sha256 of the key>`. A reader needs one stat of the index to know where to look, and
//! never sees an answer derived from another index. A reader that finds no answer reads the index and leaves the answer for the
//! next one. A writer of the index renames the directory to the new stamp after deleting the answers that have changed, so that
//! one pull does not slow down all other references.
//!
//! All of this may be lost at any time, and no failure here makes a caller fail: the index is the truth.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::beneath;
use crate::index::{Entry, Stamp};
use crate::{Digest, Layout, Reference};

/// The directory's name between two stamps, where no reader looks.
const MOVING: &str = "moving";

/// The entries that an earlier reader of the same index left for a reference.
pub(crate) fn get(layout: &Layout, stamp: &Stamp, reference: &Reference) -> Option<Vec<Entry>> {
    let bytes = fs::read(file(layout, stamp, reference)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Leaves the entries of a reference for the next reader.
pub(crate) fn put(layout: &Layout, stamp: &Stamp, reference: &Reference, entries: &[Entry]) {
    if let Err(error) = try_put(layout, stamp, reference, entries) {
        tracing::debug!(%reference, %error, "the answer from the index is not kept");
    }
}

/// Carries the answers over to the next index, except those for changed keys. The caller holds the index lock.
///
/// The directory is renamed in two steps: a reader of the old index that still wants to leave an answer finds no directory for it,
/// and so cannot restore a deleted answer.
pub(crate) fn carry(layout: &Layout, from: Option<&Stamp>, to: &Stamp, changed: &[String]) {
    let result = (|| {
        let moving = layout.lookup().join(MOVING);
        if let Some(from) = from
            && beneath::rename(layout, &directory(layout, from), &moving).is_ok()
        {
            for key in changed {
                beneath::remove(layout, &moving.join(name(key)))?;
            }
            beneath::rename(layout, &moving, &directory(layout, to))?;
        }
        sweep(layout, Some(to))
    })();
    if let Err(error) = result {
        tracing::debug!(%error, "the answers from the index are not kept");
    }
}

/// Deletes everything that was not derived from the current index, and what killed processes left.
pub(crate) fn sweep(layout: &Layout, current: Option<&Stamp>) -> io::Result<()> {
    let keep = current.map(Stamp::name);
    let listing = match fs::read_dir(layout.lookup()) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for found in listing {
        let found = found?;
        let name = found.file_name();
        let name = name.to_string_lossy();
        if keep
            .as_deref()
            .is_some_and(|keep| name.strip_suffix("-pinned").unwrap_or(&name) == keep)
        {
            continue;
        }
        match found.file_type()?.is_dir() {
            true => beneath::remove_directory(layout, &found.path())?,
            false => beneath::remove(layout, &found.path())?,
        };
    }
    Ok(())
}

fn try_put(
    layout: &Layout,
    stamp: &Stamp,
    reference: &Reference,
    entries: &[Entry],
) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let target = file(layout, stamp, reference);
    if let Some(directory) = target.parent() {
        beneath::make_directory(layout, directory, beneath::DIRECTORY)?;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let aside = layout
        .lookup()
        .join(format!("{}-{number}", std::process::id()));
    let written =
        write(layout, &aside, entries).and_then(|()| beneath::rename(layout, &aside, &target));
    match &written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            beneath::remove(layout, &aside)?;
        }
        _ => {}
    }
    written
}

fn write(layout: &Layout, path: &Path, entries: &[Entry]) -> io::Result<()> {
    // Exclusively, as a process in another pid namespace may have our process id.
    let mut file = beneath::create_new(layout, path, beneath::SHARED)?;
    file.write_all(&serde_json::to_vec(entries)?)
}

/// The directory of answers for references without digests, which are carried over.
fn directory(layout: &Layout, stamp: &Stamp) -> PathBuf {
    layout.lookup().join(stamp.name())
}

/// Answers for references with digests are apart: any change of the index may change them, so they are not carried over.
fn file(layout: &Layout, stamp: &Stamp, reference: &Reference) -> PathBuf {
    let pinned = if reference.digest().is_some() {
        "-pinned"
    } else {
        ""
    };
    layout.lookup().join(format!(
        "{}{pinned}/{}",
        stamp.name(),
        name(&reference.key())
    ))
}

/// Keys may contain slashes and be longer than a file name.
fn name(key: &str) -> String {
    Digest::of(key.as_bytes()).hex()
}
