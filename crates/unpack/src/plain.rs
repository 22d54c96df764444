//! Archives unpacked to a directory of the caller's, all or nothing.

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

/// One layer of several that make one tree.
pub struct Layer<R> {
    /// The blob, packed or not.
    pub blob: R,
    /// What its uncompressed content must hash to, where that is known.
    pub diff_id: Option<DiffId>,
}

/// Unpacks one archive to `dir`, which must be empty or not there (its parent must be). On failure it is as before.
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

/// Unpacks layers, the lowest first, to one `dir`, deleting what whiteouts name. As [`unpack_archive`] otherwise.
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
    // Where nothing is known to compare with, nothing is hashed.
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
    // At its end it has nothing more, yet may say that it was interrupted.
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

/// What the names of unfinished trees have in them.
const UNFINISHED: &str = ".unpacking-";

/// The directory unpacked to, until it is kept.
///
/// Either way the tree is made aside, so that a killed process leaves no half of one that looks whole: only a hidden
/// directory, which the next attempt sweeps away.
pub(crate) enum Target {
    /// It was not there: made beside it, renamed at the end.
    New {
        staged: StagedDirectory,
        path: PathBuf,
    },
    /// It was there, and empty: made in it, moved up at the end. It stays the directory it is, as it may be a mount
    /// point, or somebody's working directory.
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
        // Cut, as the rest must fit into a file name too.
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

    /// Gives the tree its place. What its root has is taken over by a directory that was there, where `root` says that it is
    /// somebody's wish.
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

/// A tree in the making, below a directory that nobody else can enter.
///
/// Directories of the tree may belong to any user of this machine long before the tree is whole, and so may the directory that it is
/// made in. Such a user could swap a link or a device that was made for something else before it has its owner and mode.
pub(crate) struct StagedDirectory {
    staging: Staging,
    tree: OwnedFd,
}

/// How often a directory is made anew that another user swaps.
const TRIES: usize = 128;

/// What the tree is called meanwhile.
const TREE: &[u8] = staging::TAKEN.as_bytes();

impl StagedDirectory {
    /// An empty one in `parent`, with what a tree without an entry for its root gets.
    fn create(parent: &Path, prefix: &str) -> Result<StagedDirectory, Error> {
        let mut staging = Staging::create(parent, prefix)?;
        let mut tries = 1;
        while !staging.is_private()? {
            // What has its name now is not ours to remove.
            staging.leave();
            if tries == TRIES {
                let swapped =
                    io::Error::other("another user always puts something else in its place");
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
        // Whatever the umask takes away.
        rustix::fs::fchmod(&tree, mode).map_err(failed)?;
        Ok(StagedDirectory { staging, tree })
    }
}

/// A directory of the caller's that is empty. Dropped before it is filled, it is so again, with the owner, mode and
/// time it had.
pub(crate) struct ExistingDirectory {
    dir: OwnedFd,
    before: Stat,
    path: PathBuf,
    /// Hashes of the names moved to it: there may be more names than fit into the memory.
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

    /// Moves the tree's entries up, and where `takes_root` gives the directory what the tree's root has.
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

    /// Moves back what was moved. What others have put there meanwhile stays.
    fn give_back(&self, root: &OwnedFd) {
        let given = remove::each_name(
            &self.dir,
            |errno| errno,
            |name| {
                let ours = self.moved.contains(&self.keys.hash_one(name));
                Ok(ours && move_to(&self.dir, name, root, name).is_ok())
            },
        );
        // What cannot be moved is told of by the failure that led here.
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

/// Moves an entry from one directory to a name that nothing has.
fn move_to(from: impl AsFd, old: &[u8], to: impl AsFd, new: &[u8]) -> Result<(), Errno> {
    match rustix::fs::renameat_with(&from, old, &to, new, RenameFlags::NOREPLACE) {
        // Some file systems know no flags.
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
            tracing::warn!(path = %self.path.display(), %error, "the directory could not be made as it was before");
        }
    }
}
