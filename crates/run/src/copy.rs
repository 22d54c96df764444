//! `box cp`: files copied between the host and a container, which may be hostile and at work meanwhile.
//!
//! A path in a container is resolved below its root by openat2(2), symbolic links included, and everything from there on is
//! done by descriptor, one name at a time and without following links: no link, swapped at whatever moment, leads a copy
//! onto the host (CVE-2018-15664), and nothing of the container is executed or loaded (CVE-2019-14271).

mod place;
mod transfer;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::archive::{Archive, Ids};
use crate::{Error, diff};
pub use place::Tree;
use place::{Destination, Target};
use transfer::Transfer;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files of any kind.
    pub files: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Files that cannot be copied: sockets, and devices without `archive`.
    pub skipped: u64,
}

/// Copies a file or a directory. As with cp(1) and docker, a destination that is a directory gets the source under its own name, or
/// only what it holds where the source ends with `/.`; else the source gets the destination's name.
pub fn copy(
    from: &Tree,
    source: &Path,
    to: &Tree,
    destination: &Path,
    options: &Options,
) -> Result<Copied, Error> {
    let source = Source::open(from, source, options.follow)?;
    let directory = source.is_directory();
    let destination = to.destination(destination)?;
    let mut transfer = Transfer::new(*options);
    match (destination, &source.name) {
        (Destination::Directory(target), None) if directory => {
            transfer.content(&source.handle, &source.stat, &target)?
        }
        (Destination::Directory(target), Some(name)) => {
            let target = Target {
                directory: target,
                name: name.clone(),
            };
            transfer.entry(&source.handle, &source.stat, &target)?;
        }
        (
            Destination::Missing {
                target,
                wants_directory,
            },
            _,
        ) => {
            if wants_directory && !directory {
                return Err(to.failed("copy to", Path::new(&target.name), Errno::NOENT));
            }
            transfer.entry(&source.handle, &source.stat, &target)?;
        }
        (Destination::File(target), _) if !directory => {
            transfer.entry(&source.handle, &source.stat, &target)?
        }
        (Destination::File(target), _) => {
            return Err(to.failed(
                "copy a directory onto",
                Path::new(&target.name),
                Errno::NOTDIR,
            ));
        }
        (Destination::Directory(_), None) => {
            unreachable!("only a directory has no name of its own")
        }
    }
    Ok(transfer.copied)
}

/// Writes a file or directory as a tar archive, under its own name (`.` for what has none).
pub fn write_archive(
    from: &Tree,
    source: &Path,
    options: &Options,
    out: impl Write,
) -> Result<(), Error> {
    let source = Source::open(from, source, options.follow)?;
    let mut archive = Archive::new(out, options.ids);
    let name = source.name.clone().unwrap_or_else(|| ".".into());
    archive_tree(&mut archive, Path::new(&name), &source.handle, &source.stat)?;
    archive
        .finish()?
        .flush()
        .map_err(|error| Error::system("write the archive", error))
}

fn archive_tree<W: Write>(
    archive: &mut Archive<W>,
    path: &Path,
    handle: &OwnedFd,
    stat: &Stat,
) -> Result<(), Error> {
    archive.add(path, handle, stat)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let failed = |errno: Errno| Error::io("read directory", path, errno);
    let directory = place::directory(handle).map_err(failed)?;
    for name in diff::names(&directory).map_err(failed)? {
        let path = path.join(&name);
        match place::look(&directory, &name) {
            Ok((handle, stat)) => archive_tree(archive, &path, &handle, &stat)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::io("open", &path, errno)),
        }
    }
    Ok(())
}

/// The file that is to be copied.
struct Source {
    handle: OwnedFd,
    stat: Stat,
    /// `None`: the source is a directory of which only the content is meant, or that has no name, as `/`.
    name: Option<std::ffi::OsString>,
}

impl Source {
    fn open(tree: &Tree, path: &Path, follow: bool) -> Result<Self, Error> {
        use std::os::unix::ffi::OsStrExt;
        let text = path.as_os_str().as_bytes();
        let content = text == b"." || text.ends_with(b"/.") || text.ends_with(b"..");
        // A slash at the end demands a directory, also behind a link.
        let nofollow = if follow || content || text.ends_with(b"/") {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        let handle = tree.open(path, OFlags::PATH | nofollow)?;
        let stat =
            rustix::fs::fstat(&handle).map_err(|errno| tree.failed("look at", path, errno))?;
        let name = path.file_name().filter(|_| !content).map(ToOwned::to_owned);
        Ok(Self { handle, stat, name })
    }

    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }
}

#[cfg(test)]
mod tests;
