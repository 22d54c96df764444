//! `box cp`: copies between the host and a container, which may be hostile and running.
//!
//! A path in a container is resolved below its root by openat2(2), symbolic links included. From there on everything is done by
//! descriptor, one name at a time and without following links: no link, whenever it is swapped in, leads a copy onto the host
//! (CVE-2018-15664), and nothing of the container is executed or loaded (CVE-2019-14271).

mod archive;
mod content;
mod entry;
mod existing;
mod failure;
mod hard_links;
mod metadata;
mod options;
mod owner;
mod source;
mod staging;
mod transfer;
mod tree;
mod unnamed;

use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::Error;
pub use archive::write_archive;
use entry::Target;
pub use options::{Copied, CopyOptions};
use source::Source;
use transfer::Transfer;
use tree::destination::{Destination, refuse};
pub use tree::{Tree, Unavailable};

/// Copies a file or a directory. As with cp(1) and docker, the source is copied into a destination that is a directory, or only its
/// content if the source ends with `/.`; otherwise the copy gets the destination's name. If the copy fails, or `stop` returns true,
/// no partial file is left.
pub fn copy(
    from: &Tree,
    source: &Path,
    to: &Tree,
    destination: &Path,
    options: &CopyOptions,
    stop: &dyn Fn() -> bool,
) -> Result<Copied, Error> {
    let shown = from.shown(source);
    let source = Source::open(from, source, options.follow)?;
    let directory = source.is_directory();
    let destination = to.destination(destination)?;
    let mut transfer = Transfer::new(*options, from, to, stop);
    let copied = &source.file;
    match (destination, source.name) {
        (
            Destination::Directory {
                directory: target,
                shown,
            },
            None,
        ) => transfer.content(&copied.handle, &target, &shown)?,
        (
            Destination::Directory {
                directory,
                mut shown,
            },
            Some(name),
        ) => {
            shown.push(&name);
            let target = Target {
                directory,
                name,
                shown,
            };
            transfer.entry(copied, &target)?;
        }
        (
            Destination::Missing {
                target,
                wants_directory,
            },
            _,
        ) => {
            if wants_directory && !directory {
                return Err(Error::io("copy to", &target.shown, Errno::NOENT));
            }
            transfer.entry(copied, &target)?;
        }
        (Destination::File(target), _) if directory => {
            return Err(Error::io(
                "copy a directory onto",
                &target.shown,
                Errno::NOTDIR,
            ));
        }
        (Destination::File(target), _) => transfer.entry(copied, &target)?,
        (Destination::Open { file, shown }, _) if source.kind == FileType::RegularFile => {
            transfer.write_content(copied, &file, &shown)?;
        }
        (Destination::Open { file, shown }, _) => {
            let stat = rustix::fs::fstat(&file);
            let kind = stat.map_or(FileType::Unknown, |stat| {
                FileType::from_raw_mode(stat.st_mode)
            });
            return Err(refuse(&shown, kind));
        }
    }
    if transfer.copied.files == 0 && transfer.copied.skipped == 1 && !directory {
        let why = "it is a socket, or a device, which is copied with --archive only";
        return Err(Error::copy("copy", &shown, why));
    }
    Ok(transfer.copied)
}

#[cfg(test)]
mod tests;
