//! Unpacking archives to a directory of the caller, all or nothing.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use box_cache::DiffId;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use crate::archive::Archive;
use crate::entry::{Metadata, Time};
use crate::error::Error;
use crate::layers::{is_of_nothing, metadata_of};
use crate::limits::Limits;
use crate::metadata::{self, times};
use crate::pipeline::Pipeline;
use crate::staging::{self, Staging, open_directory};
use crate::tree::{Doing, Failure, Flavor, LinkBudget, remove};
use crate::work::{self, Summary};

/// Bytes read from an archive at once.
const READ: usize = 64 * 1024;

/// One of several layers to unpack to one tree.
pub struct Layer<R> {
    /// The blob, compressed or not.
    pub blob: R,
    /// The required digest of its uncompressed content, if known.
    pub diff_id: Option<DiffId>,
}

/// Unpacks one archive to `dir`, which must be empty or missing; its parent must exist. On failure `dir` is left as it was.
pub fn unpack_archive(archive: impl Read, dir: &Path, limits: &Limits) -> Result<Summary, Error> {
    unpack_layers(
        [Ok(Layer {
            blob: archive,
            diff_id: None,
        })],
        dir,
        limits,
    )
}

/// Unpacks layers, the lowest first, to one `dir`, and deletes what whiteouts name. Otherwise like [`unpack_archive`].
pub fn unpack_layers<R: Read>(
    layers: impl IntoIterator<Item = io::Result<Layer<R>>>,
    dir: &Path,
    limits: &Limits,
) -> Result<Summary, Error> {
    let target = Target::open(dir)?;
    let links = Arc::<LinkBudget>::default();
    let mut total = Summary::default();
    for (number, layer) in layers.into_iter().enumerate() {
        let layer = layer.map_err(Error::Read)?;
        let summary = unpack_layer(
            layer,
            target.duplicate()?,
            number > 0,
            links.clone(),
            limits,
        )?;
        total.entries += summary.entries;
        total.bytes += summary.bytes;
        total.decoded += summary.decoded;
        total.root |= summary.root;
    }
    target.keep(total.root)?;
    Ok(total)
}

fn unpack_layer<R: Read>(
    mut layer: Layer<R>,
    root: OwnedFd,
    over_others: bool,
    links: Arc<LinkBudget>,
    limits: &Limits,
) -> Result<Summary, Error> {
    // Hashing is only needed if there is a digest to compare.
    let algorithm = layer.diff_id.map(|id| id.0.algorithm());
    let may_be_empty = layer.diff_id.is_some_and(|id| is_of_nothing(&id));
    let work = move |archive: &mut Archive<_>| {
        if may_be_empty {
            archive.accept_nothing();
        }
        work::write_tree(archive, root, Flavor::Plain, over_others, links)
    };
    let mut pipeline = Pipeline::start(limits.clone(), algorithm, work)?;
    let mut buffer = vec![0; READ];
    loop {
        match layer.blob.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => pipeline.write(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    // It is at its end, but may report that it was interrupted.
    let wanted = || match layer.blob.read(&mut [0]) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(Error::Read(error)),
        _ => Ok(()),
    };
    let outcome = pipeline.finish(|| (), wanted)?;
    let actual = outcome.digest.map(DiffId);
    if let (Some(expected), Some(actual)) = (layer.diff_id, actual)
        && expected != actual
    {
        let (expected, actual) = (Box::new(expected), Box::new(actual));
        return Err(Error::DiffId { expected, actual });
    }
    Ok(Summary {
        decoded: outcome.decoded,
        ..outcome.result
    })
}

/// A part of the names of unfinished trees.
const UNFINISHED: &str = ".unpacking-";

/// The directory to unpack to.
///
/// In both cases the tree is made aside, so that a killed process leaves only a hidden directory, which the next attempt sweeps, and
/// no partial tree that looks complete.
pub(crate) enum Target {
    /// A missing directory: the tree is made beside it and renamed at the end.
    New {
        staged: StagedDirectory,
        path: PathBuf,
    },
    /// An existing, empty directory: the tree is made in it and moved up at the end. The directory is kept, as it may be a mount point
    /// or the working directory of a process.
    Existing {
        staged: StagedDirectory,
        found: ExistingDirectory,
    },
}

impl Target {
    pub fn open(path: &Path) -> Result<Target, Error> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Target::create(path),
            Err(source) => Err(Error::io("look at", path, source)),
            Ok(_) => {
                let found = ExistingDirectory::open(path)?;
                let staged = StagedDirectory::create(path, UNFINISHED)?;
                Ok(Target::Existing { staged, found })
            }
        }
    }

    fn create(path: &Path) -> Result<Target, Error> {
        let name = path
            .file_name()
            .ok_or_else(|| Error::NotDirectory(path.to_owned()))?;
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // Truncated, as the rest must fit into a file name too.
        let name: String = name.to_string_lossy().chars().take(40).collect();
        let prefix = format!(".{name}{UNFINISHED}");
        staging::sweep(parent, &prefix)?;
        let staged = StagedDirectory::create(parent, &prefix)?;
        Ok(Target::New {
            staged,
            path: path.to_owned(),
        })
    }

    pub fn duplicate(&self) -> Result<OwnedFd, Error> {
        let (Target::New { staged, path }
        | Target::Existing {
            staged,
            found: ExistingDirectory { path, .. },
        }) = self;
        rustix::io::fcntl_dupfd_cloexec(&staged.tree, 0)
            .map_err(|errno| Error::io("open", path, errno))
    }

    /// Moves the tree to its final place. If `root` is set, the archive had an entry for its root, and an existing directory gets the
    /// metadata of that entry.
    pub fn keep(self, root: bool) -> Result<(), Error> {
        match self {
            Target::New { staged, path } => {
                let StagedDirectory { staging, tree } = staged;
                drop(tree);
                move_to(staging.dir(), TREE, CWD, path.as_os_str().as_bytes())
                    .map_err(|errno| Error::io("rename the unpacked tree to", &path, errno))?;
                drop(staging);
                Ok(())
            }
            Target::Existing { staged, found } => found.fill(staged, root),
        }
    }
}

/// An unfinished tree, below a directory that no other user can enter.
///
/// Directories of the tree may belong to any user of this machine long before the tree is complete, and so may the directory that it
/// is made in. Such a user could swap a new link or device for something else before its owner and mode are set.
pub(crate) struct StagedDirectory {
    staging: Staging,
    tree: OwnedFd,
}

/// How often a directory is made again after another user swapped it.
const TRIES: usize = 128;

/// The tree's name meanwhile.
const TREE: &[u8] = staging::TAKEN.as_bytes();

impl StagedDirectory {
    /// An empty tree in `parent`, with the mode for archives without an entry for their root.
    fn create(parent: &Path, prefix: &str) -> Result<StagedDirectory, Error> {
        let mut staging = Staging::create(parent, prefix)?;
        let mut tries = 1;
        while !staging.is_private()? {
            // Another user's directory has its name now and must not be removed.
            staging.leave();
            if tries == TRIES {
                let swapped = io::Error::other("another user keeps replacing it");
                return Err(Error::io("make a directory in", parent, swapped));
            }
            tries += 1;
            staging = Staging::create(parent, prefix)?;
        }
        staging.mark();
        let failed = |errno: Errno| Error::io("create directory", staging.path(), errno);
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(staging.dir(), TREE, mode).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let tree = rustix::fs::openat(staging.dir(), TREE, flags, Mode::empty()).map_err(failed)?;
        // Whatever the umask removed.
        rustix::fs::fchmod(&tree, mode).map_err(failed)?;
        Ok(StagedDirectory { staging, tree })
    }
}

/// An empty directory of the caller. When dropped before it is filled, it gets back its owner, mode and time.
pub(crate) struct ExistingDirectory {
    dir: OwnedFd,
    before: Stat,
    path: PathBuf,
    /// Hashes of the names moved to it: the names themselves may not fit into memory.
    moved: BTreeSet<u64>,
    keys: RandomState,
    filled: bool,
}

impl ExistingDirectory {
    fn open(path: &Path) -> Result<ExistingDirectory, Error> {
        let dir = open_directory(path)?;
        let before = rustix::fs::fstat(&dir).map_err(|errno| Error::io("look at", path, errno))?;
        staging::sweep(path, UNFINISHED)?;
        let there = remove::any_name(&dir).map_err(|errno| Error::io("list", path, errno))?;
        if let Some(first) = there {
            let first = String::from_utf8_lossy(&first).into_owned();
            return Err(Error::NotEmpty {
                path: path.to_owned(),
                first,
            });
        }
        Ok(ExistingDirectory {
            dir,
            before,
            path: path.to_owned(),
            moved: BTreeSet::new(),
            keys: RandomState::new(),
            filled: false,
        })
    }

    /// Moves the tree's entries up. With `takes_root`, the directory gets the metadata of the tree's root.
    fn fill(mut self, staged: StagedDirectory, takes_root: bool) -> Result<(), Error> {
        let taken = self.take(&staged.tree, takes_root);
        let metadata = taken.map_err(|failure| {
            self.give_back(&staged.tree);
            failure.on(&self.path)
        })?;
        staged.staging.remove()?;
        if let Some(metadata) = metadata {
            rustix::fs::futimens(&self.dir, &times(metadata.mtime))
                .map_err(|errno| Error::io("set the times of", &self.path, errno))?;
        }
        self.filled = true;
        Ok(())
    }

    fn take(&mut self, root: &OwnedFd, takes_root: bool) -> Result<Option<Metadata>, Failure> {
        let stat = rustix::fs::fstat(root).doing("look at")?;
        let metadata = takes_root.then(|| metadata_of(&stat, root)).transpose()?;
        let failed = |errno| Failure::Kernel("list", errno);
        remove::each_name(root, failed, |name| {
            move_to(root, name, &self.dir, name).doing("move what was unpacked to")?;
            self.moved.insert(self.keys.hash_one(name));
            Ok(true)
        })?;
        if let Some(metadata) = &metadata {
            metadata::set_directory(&self.dir, metadata)?;
        }
        Ok(metadata)
    }

    /// Moves back what was moved. What others have created there meanwhile stays.
    fn give_back(&self, root: &OwnedFd) {
        let given = remove::each_name(
            &self.dir,
            |errno| errno,
            |name| {
                let ours = self.moved.contains(&self.keys.hash_one(name));
                Ok(ours && move_to(&self.dir, name, root, name).is_ok())
            },
        );
        // The failure that led here is the one to report.
        given.unwrap_or_default();
    }

    fn restore(&self) -> Result<(), rustix::io::Errno> {
        let before = &self.before;
        let now = rustix::fs::fstat(&self.dir)?;
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid) {
            let (uid, gid) = (Uid::from_raw(before.st_uid), Gid::from_raw(before.st_gid));
            rustix::fs::fchown(&self.dir, Some(uid), Some(gid))?;
        }
        if now.st_mode != before.st_mode {
            rustix::fs::fchmod(&self.dir, Mode::from_raw_mode(before.st_mode & 0o7777))?;
        }
        let mtime = Time {
            seconds: before.st_mtime,
            nanos: before.st_mtime_nsec as u32,
        };
        if (now.st_mtime, now.st_mtime_nsec) != (before.st_mtime, before.st_mtime_nsec) {
            rustix::fs::futimens(&self.dir, &times(mtime))?;
        }
        Ok(())
    }
}

/// Moves an entry from one directory to an unused name in another.
fn move_to(from: impl AsFd, old: &[u8], to: impl AsFd, new: &[u8]) -> Result<(), Errno> {
    match rustix::fs::renameat_with(&from, old, &to, new, RenameFlags::NOREPLACE) {
        // Some file systems do not support flags.
        Err(Errno::INVAL) => match rustix::fs::statat(&to, new, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => rustix::fs::renameat(&from, old, &to, new),
            Ok(_) => Err(Errno::EXIST),
            Err(errno) => Err(errno),
        },
        other => other,
    }
}

impl Drop for ExistingDirectory {
    fn drop(&mut self) {
        if !self.filled
            && let Err(error) = self.restore()
        {
            tracing::warn!(path = %self.path.display(), %error, "the directory could not be restored");
        }
    }
}
