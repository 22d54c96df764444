//! A file or directory as a tar archive.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::entry::{self, has_vanished};
use super::failure::DEEPEST;
use super::options::{Copied, CopyOptions};
use super::source::Source;
use super::tree::Tree;
use crate::Error;
use crate::archive::Archive;

/// Writes a file or directory as a tar archive, under its own name, or `.` if it has none. Sparse files stay sparse.
pub fn write_archive(
    from: &Tree,
    source: &Path,
    options: &CopyOptions,
    out: impl Write,
) -> Result<Copied, Error> {
    let source = Source::open(from, source, options.follow)?;
    let name = source.name.clone().unwrap_or_else(|| ".".into());
    let mut stream = Stream {
        archive: Archive::new(out, options.ids).with_holes(),
        from,
        copied: Copied::default(),
    };
    stream.tree(
        Path::new(&name),
        &source.file.handle,
        &source.file.stat,
        false,
        0,
    )?;
    stream
        .archive
        .finish()?
        .flush()
        .map_err(|error| Error::system("write the archive", error))?;
    Ok(stream.copied)
}

struct Stream<'a, W: Write> {
    archive: Archive<W>,
    from: &'a Tree,
    copied: Copied,
}

impl<W: Write> Stream<'_, W> {
    /// Adds a file or directory; with `skipped` a directory without its content.
    fn tree(
        &mut self,
        path: &Path,
        handle: &OwnedFd,
        stat: &Stat,
        skipped: bool,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > DEEPEST {
            let why = format!("directories are nested more than {DEEPEST} deep");
            return Err(Error::copy("archive", path, why));
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
            self.copied.skipped += 1;
            return Ok(());
        }
        self.archive.add(path, handle, stat)?;
        self.copied.files += 1;
        if skipped || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let failed = |errno: Errno| match errno {
            Errno::OVERFLOW => Error::copy("archive", path, "it has too many files"),
            errno => Error::io("read directory", path, errno),
        };
        let listed = entry::directory(handle).and_then(|it| Ok((entry::names(&it)?, it)));
        let (names, directory) = match listed {
            Err(errno) if has_vanished(errno) => {
                self.copied.vanished += 1;
                return Ok(());
            }
            other => other.map_err(failed)?,
        };
        for name in names {
            let path = path.join(&name);
            let (handle, inner) = match entry::open(&directory, &name) {
                Ok(found) => found,
                Err(errno) if has_vanished(errno) => {
                    self.copied.vanished += 1;
                    continue;
                }
                Err(errno) => return Err(Error::io("open", &path, errno)),
            };
            let crossed = inner.st_dev != stat.st_dev;
            let unavailable = self.from.unavailable(&inner).filter(|_| crossed);
            if let Some(unavailable) = unavailable {
                self.copied.note_unavailable(unavailable);
            }
            let skipped = unavailable.is_some() || crossed && entry::is_kernels(&handle);
            if skipped && FileType::from_raw_mode(inner.st_mode) != FileType::Directory {
                continue;
            }
            self.tree(&path, &handle, &inner, skipped, depth + 1)?;
        }
        Ok(())
    }
}
