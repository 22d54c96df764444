//! Removing a tree of any depth, without following links and without running out of descriptors.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, RawDir};
use rustix::io::Errno;

use super::directories::OPEN;

/// The most directories open at once. A directory below that depth is moved up first and removed from there.
const DEPTH: usize = 64;

/// The number of directories of one listing that are entered before it continues. Their names are kept meanwhile.
const BATCH: usize = 1024;

/// Bytes for one getdents64(2) call.
const LISTING: usize = 32 * 1024;

/// Removes a name in `dir` and everything below it, without following links. A missing name is not an error.
pub(crate) fn tree(dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let dir = dir.as_fd();
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(errno),
    }
    let root = rustix::fs::openat(dir, name, OPEN, Mode::empty())?;
    contents(&root)?;
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Removes everything in a directory.
pub(crate) fn contents(root: &OwnedFd) -> Result<(), Errno> {
    // The descriptor may have been listed before.
    rewind(root)?;
    let mut buffer = vec![MaybeUninit::uninit(); LISTING];
    let mut moved = Moved::default();
    below(root, root, DEPTH, &mut moved, &mut buffer)?;
    while let Some(name) = moved.waiting.pop() {
        let dir = match rustix::fs::openat(root, &*name, OPEN, Mode::empty()) {
            // It was already removed with the root's own listing.
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        below(root, &dir, DEPTH, &mut moved, &mut buffer)?;
        drop(dir);
        rustix::fs::unlinkat(root, &*name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Like [`tree`], with two threads, which on two cores share the kernel's work.
pub(crate) fn large_tree(dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let parts = parts(dir.as_fd(), name);
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), Errno> {
        while let Some((parent, name)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            tree(parent, name)?;
        }
        Ok(())
    };
    if parts.len() > 1 {
        std::thread::scope(|scope| {
            let helper = scope.spawn(work);
            let own = work();
            // What they could not remove fails again below, which is reported.
            own.and(helper.join().unwrap_or(Err(Errno::IO)))
        })
        .ok();
    }
    tree(dir, name)
}

/// Directories in a tree, none of them below another, for two threads to share.
fn parts(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<(Arc<OwnedFd>, Vec<u8>)> {
    const ENOUGH: usize = 64;
    const LEVELS: usize = 3;
    let Ok(root) = rustix::fs::openat(dir, name, OPEN, Mode::empty()) else {
        return Vec::new();
    };
    let mut parts = children(Arc::new(root));
    for _ in 1..LEVELS {
        if parts.len() >= ENOUGH {
            break;
        }
        parts = parts
            .into_iter()
            .flat_map(|(parent, name)| {
                let inner = rustix::fs::openat(&*parent, &*name, OPEN, Mode::empty());
                let inner = inner.map_or_else(|_| Vec::new(), |inner| children(Arc::new(inner)));
                if inner.is_empty() {
                    vec![(parent, name)]
                } else {
                    inner
                }
            })
            .collect();
    }
    parts
}

/// The directories in a directory, at most [`BATCH`]: the others are removed with it.
fn children(parent: Arc<OwnedFd>) -> Vec<(Arc<OwnedFd>, Vec<u8>)> {
    let mut names = Vec::new();
    let mut buffer = vec![MaybeUninit::uninit(); LISTING];
    let mut listing = RawDir::new(&*parent, &mut buffer);
    while let Some(Ok(entry)) = listing.next() {
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            names.push(name.to_vec());
        }
        if names.len() == BATCH {
            break;
        }
    }
    names
        .into_iter()
        .map(|name| (Arc::clone(&parent), name))
        .collect()
}

/// Calls `each` with every name in a directory, in the file system's order. `each` returns whether it removed the name. Only some names
/// are in memory at a time, as an archive decides how many there are.
pub(crate) fn each_name<E>(
    dir: &OwnedFd,
    failed: impl Fn(Errno) -> E,
    mut each: impl FnMut(&[u8]) -> Result<bool, E>,
) -> Result<(), E> {
    loop {
        rewind(dir).map_err(&failed)?;
        let mut taken = false;
        loop {
            let names = next_names(dir).map_err(&failed)?;
            if names.is_empty() {
                break;
            }
            for name in names {
                taken |= each(&name)?;
            }
        }
        // Some file systems' listings skip names after removals: list again until nothing was removed.
        if !taken {
            return Ok(());
        }
    }
}

/// A name in a directory. None if it is empty.
pub(crate) fn any_name(dir: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    rewind(dir)?;
    Ok(next_names(dir)?.pop())
}

/// The next names of a listing, as many as fit into its buffer. Empty at its end.
fn next_names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    let mut buffer = vec![MaybeUninit::uninit(); LISTING];
    let mut listing = RawDir::new(dir, &mut buffer);
    while names.is_empty() || !listing.is_buffer_empty() {
        let Some(entry) = listing.next() else {
            break;
        };
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Makes the next listing start at the first name.
fn rewind(dir: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0)).map(drop)
}

/// Directories that were moved up to the tree's root.
#[derive(Default)]
struct Moved {
    waiting: Vec<Vec<u8>>,
    count: u64,
}

/// Empties `dir`. Directories deeper than `depth` are moved to `root` instead of entered.
fn below(
    root: &OwnedFd,
    dir: &OwnedFd,
    depth: usize,
    moved: &mut Moved,
    buffer: &mut Vec<MaybeUninit<u8>>,
) -> Result<(), Errno> {
    let mut empty = true;
    loop {
        let mut directories = Vec::new();
        let mut listing = RawDir::new(dir, buffer);
        let mut ended = false;
        while !(directories.len() >= BATCH && listing.is_buffer_empty()) {
            let Some(entry) = listing.next() else {
                ended = true;
                break;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name.to_bytes() == b"." || name.to_bytes() == b".." {
                continue;
            }
            empty = false;
            if entry.file_type() == FileType::Directory {
                directories.push(name.to_owned());
                continue;
            }
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // Listings of some file systems have no types.
                Err(Errno::ISDIR) => directories.push(name.to_owned()),
                Err(errno) => return Err(errno),
            }
        }
        for name in directories {
            directory(root, dir, &name, depth, moved, buffer)?;
        }
        if ended && empty {
            return Ok(());
        }
        if ended {
            // Some file systems' listings skip names after removals: list again until nothing is left.
            rewind(dir)?;
            empty = true;
        }
    }
}

fn directory(
    root: &OwnedFd,
    dir: &OwnedFd,
    name: &CString,
    depth: usize,
    moved: &mut Moved,
    buffer: &mut Vec<MaybeUninit<u8>>,
) -> Result<(), Errno> {
    // Many are empty.
    match rustix::fs::unlinkat(dir, name.as_c_str(), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    if depth == 0 {
        loop {
            moved.count += 1;
            let above = format!(".removed-{}", moved.count).into_bytes();
            match rustix::fs::renameat_with(
                dir,
                name.as_c_str(),
                root,
                &*above,
                rustix::fs::RenameFlags::NOREPLACE,
            ) {
                Err(Errno::EXIST) => {}
                other => {
                    moved.waiting.push(above);
                    return other;
                }
            }
        }
    }
    let open = rustix::fs::openat(dir, name.as_c_str(), OPEN, Mode::empty())?;
    below(root, &open, depth - 1, moved, buffer)?;
    drop(open);
    rustix::fs::unlinkat(dir, name.as_c_str(), AtFlags::REMOVEDIR)
}
