//! `box cp`: files copied between the host and a container, which may be hostile and at work meanwhile.
//!
//! A path in a container is resolved below its root by openat2(2), symbolic links included, and everything from there on is
//! done by descriptor, one name at a time and without following links: no link, swapped at whatever moment, leads a copy
//! onto the host (CVE-2018-15664), and nothing of the container is executed or loaded (CVE-2019-14271).

mod archive;
mod content;
mod entry;
mod existing;
mod failure;
mod links;
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

/// Copies a file or a directory. As with cp(1) and docker, a destination that is a directory gets the source under its own name, or
/// only what it holds where the source ends with `/.`; else the source gets the destination's name. Where this ends early,
/// because `stop` says so too, nothing half-made is left.
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
        let why = "it is a socket, or a device, which are copied with --archive alone";
        return Err(Error::copy("copy", &shown, why));
    }
    Ok(transfer.copied)
}

#[cfg(test)]
mod tests;
