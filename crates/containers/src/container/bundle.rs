//! The directory of a container: its bundle and its storage.

use std::path::Path;

use rustix::fs::{AtFlags, Mode, unlinkat};
use rustix::io::Errno;

use crate::Error;
use crate::files::removal;

/// Removes a bundle. Most contain only files that box created: those are removed by name, without reading directories.
pub(super) fn remove_bundle(dir: &Path) -> Result<(), Error> {
    const FILES: [&str; 6] = [
        "config.json",
        "instance.json",
        "resolv.conf",
        "hosts",
        "hostname",
        "work/work/incompat/volatile/dirty",
    ];
    const DIRECTORIES: [&str; 6] = [
        "work/work/incompat/volatile",
        "work/work/incompat",
        "work/work",
        "work",
        "rootfs",
        "upper",
    ];
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let Ok(open) = rustix::fs::open(dir, flags, Mode::empty()) else {
        return removal::remove_tree(dir);
    };
    let entries = FILES.map(|name| (name, AtFlags::empty())).into_iter();
    for (name, kind) in entries.chain(DIRECTORIES.map(|name| (name, AtFlags::REMOVEDIR))) {
        // If anything is left, remove_tree() removes it below.
        let _ = unlinkat(&open, name, kind);
    }
    match rustix::fs::rmdir(dir) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(_) => removal::remove_tree(dir),
    }
}
