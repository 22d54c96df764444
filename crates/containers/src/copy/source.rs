//! The source of a copy.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat};

use super::entry::is_kernels;
use super::tree::Tree;
use super::tree::destination::says_directory;
use crate::Error;

/// The source as named by the user.
pub(super) struct Source {
    pub(super) file: SourceFile,
    pub(super) kind: FileType,
    /// `None` if only the content of a directory is copied, or it has no name, as `/`.
    pub(super) name: Option<OsString>,
}

impl Source {
    pub(super) fn open(tree: &Tree, path: &Path, follow: bool) -> Result<Self, Error> {
        use std::os::unix::ffi::OsStrExt;
        let text = path.as_os_str().as_bytes();
        let content = says_directory(path) && !text.ends_with(b"/");
        // With a slash at the end the path must lead to a directory, maybe through a link.
        let nofollow = if follow || says_directory(path) {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        let handle: OwnedFd = tree.open(path, OFlags::PATH | nofollow)?;
        let stat =
            rustix::fs::fstat(&handle).map_err(|errno| tree.failed("look at", path, errno))?;
        let name = path.file_name().filter(|_| !content).map(ToOwned::to_owned);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory && is_kernels(&handle) {
            let why = "it is a file system of the kernel, which is never copied";
            return Err(Error::copy("copy", &tree.shown(path), why));
        }
        Ok(Self {
            file: SourceFile {
                handle,
                stat,
                device: None,
            },
            kind,
            name,
        })
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }
}

/// A file to copy, opened with `O_PATH`.
pub(super) struct SourceFile {
    pub(super) handle: OwnedFd,
    pub(super) stat: Stat,
    /// The device of its directory, if known.
    pub(super) device: Option<u64>,
}
