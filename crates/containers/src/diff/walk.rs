//! The walk through a container's files that finds the changes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use box_unpack::Layers;
use box_unpack::merged::{self, Found, Merged};
use rustix::fs::{FileType, Stat};

use super::change::{ChangeKind, WritableFiles};
use super::comparison;
use super::upper::{self, File, Upper};
use crate::Error;

/// A change, for the visitor of [`walk`].
pub(crate) struct Entry<'a> {
    pub(crate) kind: ChangeKind,
    /// Relative to the root; empty for the root itself.
    pub(crate) path: &'a Path,
    /// `None` for a deleted file.
    pub(crate) file: Option<File>,
}

/// Calls the visitor for each change, a directory before its content, names in order. Files that an opaque directory hides are
/// reported as deleted. The root itself comes first if its owner or mode changed.
pub(crate) fn walk(
    files: &WritableFiles,
    layers: &Layers,
    mounted: &[PathBuf],
    visit: &mut dyn FnMut(Entry<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (WritableFiles::Upper(path) | WritableFiles::Copy(path)) = files;
    let walk = Walk {
        upper: Upper::open(path)?,
        copy: matches!(files, WritableFiles::Copy(_)),
        lower: layers.merged()?,
        mounted,
    };
    let Some(root) = walk.upper.file(Path::new(""))? else {
        return Ok(());
    };
    let below = walk.lower.root()?;
    let mut reporter = Reporter {
        held_back: vec![],
        visit,
    };
    // No recursion, as the container decides how deep its directories are.
    let mut open = vec![walk.directory(PathBuf::new(), root, Some(below), false, &mut reporter)?];
    while let Some(directory) = open.last_mut() {
        let Some(name) = directory.names.next() else {
            // Directories that are still held back contain no change.
            reporter.held_back.truncate(directory.depth);
            open.pop();
            continue;
        };
        let below = walk.entry(directory, name, &mut reporter)?;
        open.extend(below);
    }
    Ok(())
}

struct Walk<'a> {
    upper: Upper,
    /// Whether it is a copy, without whiteouts and opaque directories.
    copy: bool,
    lower: Merged,
    mounted: &'a [PathBuf],
}

/// Reports unchanged directories only once there is a change in them.
struct Reporter<'a> {
    held_back: Vec<(PathBuf, File)>,
    visit: &'a mut dyn FnMut(Entry<'_>) -> Result<(), Error>,
}

impl Reporter<'_> {
    fn report(&mut self, entry: Entry<'_>) -> Result<(), Error> {
        for (path, file) in self.held_back.drain(..) {
            (self.visit)(Entry {
                kind: ChangeKind::Changed,
                path: &path,
                file: Some(file),
            })?;
        }
        (self.visit)(entry)
    }

    fn report_deleted(&mut self, path: &Path) -> Result<(), Error> {
        self.report(Entry {
            kind: ChangeKind::Deleted,
            path,
            file: None,
        })
    }
}

/// A directory whose content is being visited.
struct Directory {
    path: PathBuf,
    /// The directory below it in the layers.
    below: Option<merged::Directory>,
    /// Whether it hides that directory's content.
    hidden: bool,
    /// The names that are left.
    names: std::vec::IntoIter<OsString>,
    /// The number of parents that were held back before it.
    depth: usize,
}

impl Walk<'_> {
    /// Begins a directory over `below` in the layers; `hidden` if it hides the content of `below`.
    fn directory(
        &self,
        path: PathBuf,
        file: File,
        below: Option<merged::Directory>,
        hidden: bool,
        reporter: &mut Reporter,
    ) -> Result<Directory, Error> {
        let hidden = hidden || self.copy || self.upper.is_opaque(&path)?;
        let depth = reporter.held_back.len();
        match &below {
            Some(below) if !has_same_metadata(&file.stat, below.stat()) => {
                reporter.report(Entry {
                    kind: ChangeKind::Changed,
                    path: &path,
                    file: Some(file),
                })?;
            }
            Some(_) if path.as_os_str().is_empty() => {}
            Some(_) => reporter.held_back.push((path.clone(), file)),
            None => reporter.report(Entry {
                kind: ChangeKind::Added,
                path: &path,
                file: Some(file),
            })?,
        }
        self.content(path, below, hidden, depth)
    }

    /// The content of a directory.
    fn content(
        &self,
        path: PathBuf,
        below: Option<merged::Directory>,
        hidden: bool,
        depth: usize,
    ) -> Result<Directory, Error> {
        let mut names = self.upper.names(&path)?;
        if hidden && let Some(below) = &below {
            names.extend(self.lower.names(below)?);
            names.sort_unstable();
            names.dedup();
        }
        Ok(Directory {
            path,
            below,
            hidden,
            names: names.into_iter(),
            depth,
        })
    }

    /// Visits an entry. Returns the directory to visit next, if it is one.
    fn entry(
        &self,
        directory: &Directory,
        name: OsString,
        reporter: &mut Reporter,
    ) -> Result<Option<Directory>, Error> {
        let (path, hidden) = (directory.path.join(&name), directory.hidden);
        let found = match &directory.below {
            Some(below) => self.lower.find(below, &name)?,
            None => Found::Nothing,
        };
        let Some(file) = self.upper.file(&path)? else {
            // Removed by the running container since the directory was listed.
            if hidden {
                reporter.report_deleted(&path)?;
            }
            return Ok(None);
        };
        let kind = if matches!(found, Found::Nothing) {
            ChangeKind::Added
        } else {
            ChangeKind::Changed
        };
        let whiteout = !self.copy && upper::is_whiteout(&file.stat);
        match (FileType::from_raw_mode(file.stat.st_mode), found) {
            (_, Found::Nothing) if whiteout => return Ok(None),
            (_, Found::Nothing) if self.is_mount_point(&path, &file)? => return Ok(None),
            _ if whiteout => {
                reporter.report_deleted(&path)?;
                return Ok(None);
            }
            (FileType::Directory, Found::Directory(below)) => {
                return self
                    .directory(path, file, Some(below), hidden, reporter)
                    .map(Some);
            }
            (FileType::Directory, Found::Nothing) => {
                return self.directory(path, file, None, false, reporter).map(Some);
            }
            (_, Found::File(below)) if self.copy && self.is_unchanged(&path, &file, &below)? => {
                return Ok(None);
            }
            _ => {}
        }
        let over_another = FileType::from_raw_mode(file.stat.st_mode) == FileType::Directory;
        reporter.report(Entry {
            kind,
            path: &path,
            file: Some(file),
        })?;
        let depth = reporter.held_back.len();
        match over_another {
            true => self.content(path, None, false, depth).map(Some),
            false => Ok(None),
        }
    }

    /// Whether an entry was created as a mount point: an empty file or directory on which something is mounted.
    fn is_mount_point(&self, path: &Path, file: &File) -> Result<bool, Error> {
        let absolute = Path::new("/").join(path);
        if !self
            .mounted
            .iter()
            .any(|mounted| mounted.starts_with(&absolute))
        {
            return Ok(false);
        }
        match FileType::from_raw_mode(file.stat.st_mode) {
            FileType::RegularFile => Ok(file.stat.st_size == 0 && self.mounted.contains(&absolute)),
            FileType::Directory => {
                for name in self.upper.names(path)? {
                    let path = path.join(name);
                    if let Some(file) = self.upper.file(&path)?
                        && !self.is_mount_point(&path, &file)?
                    {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl Walk<'_> {
    /// Whether a file of a copy is the same as in the layers.
    fn is_unchanged(&self, path: &Path, file: &File, below: &merged::File) -> Result<bool, Error> {
        let original = File {
            handle: self.lower.open_file(below)?,
            stat: *below.stat(),
        };
        comparison::is_same_file(file, &original)
            .map_err(|errno| Error::io("compare with its layer", &Path::new("/").join(path), errno))
    }
}

/// Whether a directory that was copied up has its original metadata.
fn has_same_metadata(one: &Stat, other: &Stat) -> bool {
    (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)
}
