//! `box cp`: files copied between the host and a container, which may be hostile and at work meanwhile.
//!
//! A path in a container is resolved below its root by openat2(2), symbolic links included, and everything from there on is
//! done by descriptor, one name at a time and without following links: no link, swapped at whatever moment, leads a copy
//! onto the host (CVE-2018-15664), and nothing of the container is executed or loaded (CVE-2019-14271).

mod content;
mod creator;
mod describe;
mod leftovers;
mod links;
mod place;
mod private;
mod stream;
mod transfer;
mod unnamed;
mod way;

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::archive::Ids;
pub(crate) use content::{Extents, MOST_UNSIZED};
use place::{Destination, Target};
pub use place::{Gone, Tree};
pub use stream::write_archive;
use transfer::{Original, Transfer};

/// How files are copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `-a`: owners, extended attributes and device nodes are copied too, set-id bits are kept.
    pub archive: bool,
    /// `-L`: a symbolic link named as the source is followed.
    pub follow: bool,
    /// Who owns the copies without `archive`, in ids of the host.
    pub owner: (u32, u32),
    /// How the container's ids are seen on the host; applied by `archive`.
    pub ids: Ids,
    /// The copy goes into the container, so ids are the host's.
    pub inward: bool,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files of any kind.
    pub files: u64,
    /// Bytes of file content; holes are none.
    pub bytes: u64,
    /// Files that cannot be copied: sockets, and devices without `archive`.
    pub skipped: u64,
    /// Files that were there when their directory was read, and gone when their turn came.
    pub vanished: u64,
    /// Mount points whose content was not to be had, each in words.
    pub gone: Vec<String>,
}

impl Copied {
    fn lost(&mut self, gone: &Gone) {
        if !gone.expected && !self.gone.contains(&gone.why) {
            self.gone.push(gone.why.clone());
        }
    }
}

/// Copies a file or a directory. As with cp(1) and docker, a destination that is a directory gets the source under its own name, or
/// only what it holds where the source ends with `/.`; else the source gets the destination's name. Where this ends early,
/// because `stop` says so too, nothing half-made is left.
pub fn copy(
    from: &Tree,
    source: &Path,
    to: &Tree,
    destination: &Path,
    options: &Options,
    stop: &dyn Fn() -> bool,
) -> Result<Copied, Error> {
    let shown = from.shown(source);
    let source = Source::open(from, source, options.follow)?;
    let directory = source.is_directory();
    let destination = to.destination(destination)?;
    let mut transfer = Transfer::new(*options, from, to, stop);
    let original = &source.original;
    match (destination, source.name) {
        (
            Destination::Directory {
                directory: target,
                shown,
            },
            None,
        ) => transfer.content(&original.handle, &target, &shown)?,
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
            transfer.entry(original, &target)?;
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
            transfer.entry(original, &target)?;
        }
        (Destination::File(target), _) if directory => {
            return Err(Error::io(
                "copy a directory onto",
                &target.shown,
                Errno::NOTDIR,
            ));
        }
        (Destination::File(target), _) => transfer.entry(original, &target)?,
        (Destination::Open { file, shown }, _) if source.kind == FileType::RegularFile => {
            transfer.pour(original, &file, &shown)?;
        }
        (Destination::Open { file, shown }, _) => {
            let stat = rustix::fs::fstat(&file);
            let kind = stat.map_or(FileType::Unknown, |stat| {
                FileType::from_raw_mode(stat.st_mode)
            });
            return Err(place::refuse(&shown, kind));
        }
    }
    if transfer.copied.files == 0 && transfer.copied.skipped == 1 && !directory {
        let why = "it is a socket, or a device, which are copied with --archive alone";
        return Err(Error::copying("copy", &shown, why));
    }
    Ok(transfer.copied)
}

/// The file that is to be copied.
struct Source {
    original: Original,
    kind: FileType,
    /// `None`: the source is a directory of which only the content is meant, or that has no name, as `/`.
    name: Option<std::ffi::OsString>,
}

impl Source {
    fn open(tree: &Tree, path: &Path, follow: bool) -> Result<Self, Error> {
        use std::os::unix::ffi::OsStrExt;
        let text = path.as_os_str().as_bytes();
        let content = place::says_directory(path) && !text.ends_with(b"/");
        // A slash at the end demands a directory, also behind a link.
        let nofollow = if follow || place::says_directory(path) {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        let handle: OwnedFd = tree.open(path, OFlags::PATH | nofollow)?;
        let stat =
            rustix::fs::fstat(&handle).map_err(|errno| tree.failed("look at", path, errno))?;
        let name = path.file_name().filter(|_| !content).map(ToOwned::to_owned);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory && place::is_kernels(&handle) {
            let why = "it is a view of the kernel, and no files";
            return Err(Error::copying("copy", &tree.shown(path), why));
        }
        Ok(Self {
            original: Original {
                handle,
                stat,
                device: None,
            },
            kind,
            name,
        })
    }

    fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }
}

#[cfg(test)]
mod tests;
