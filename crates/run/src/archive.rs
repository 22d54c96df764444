//! Tar archives in the POSIX (pax) format, as OCI layers are: written from open files, the same bytes for the same files.

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use crate::Error;

/// Writes one archive.
pub(crate) struct Archive<W: Write> {
    tar: Builder<W>,
    /// Files with several names, by device and inode: the first name.
    links: HashMap<(u64, u64), PathBuf>,
    ids: Ids,
}

/// How the owners of files on disk are written: a container with a user namespace has its own numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids {
    /// The host's id of the container's root, and how many ids follow it.
    pub range: Option<(u32, u32)>,
}

impl Ids {
    /// The container's number of a host's id.
    pub fn inside(self, id: u32) -> u32 {
        match self.range {
            Some((first, size)) if id >= first && id - first < size => id - first,
            _ => id,
        }
    }

    /// The host's id of a container's number.
    pub fn outside(self, id: u32) -> u32 {
        match self.range {
            Some((first, size)) if id < size => first + id,
            _ => id,
        }
    }
}

/// The longest path and link that a plain header holds.
const PLAIN: usize = 100;

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W, ids: Ids) -> Self {
        Self {
            tar: Builder::new(out),
            links: HashMap::new(),
            ids,
        }
    }

    /// Adds a file under a relative path. Sockets cannot be archived and are left out.
    pub(crate) fn add(&mut self, path: &Path, handle: impl AsFd, stat: &Stat) -> Result<(), Error> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryType::Regular,
            FileType::Directory => EntryType::Directory,
            FileType::Symlink => EntryType::Symlink,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            FileType::Fifo => EntryType::Fifo,
            _ => return Ok(()),
        };
        let read = |action: &'static str| move |errno: Errno| Error::io(action, path, errno);
        if kind == EntryType::Regular && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let first = first.clone();
                return self.write(path, EntryType::Link, stat, &first, vec![], 0, io::empty());
            }
            self.links
                .insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        let xattrs = xattrs(&handle).map_err(read("read the xattrs of"))?;
        match kind {
            EntryType::Regular => {
                let size = stat.st_size as u64;
                let file = reopen(&handle, OFlags::RDONLY).map_err(read("open"))?;
                // The header has said how long it is: a container that writes to it changes nothing about that.
                let data = std::fs::File::from(file).chain(io::repeat(0)).take(size);
                self.write(path, kind, stat, Path::new(""), xattrs, size, data)
            }
            EntryType::Symlink => {
                let target =
                    rustix::fs::readlinkat(&handle, "", vec![]).map_err(read("read link"))?;
                let target = PathBuf::from(OsString::from(std::ffi::OsStr::from_bytes(
                    target.as_bytes(),
                )));
                self.write(path, kind, stat, &target, xattrs, 0, io::empty())
            }
            _ => self.write(path, kind, stat, Path::new(""), xattrs, 0, io::empty()),
        }
    }

    /// Adds an empty file that belongs to root and has no time.
    pub(crate) fn mark(&mut self, path: &Path) -> Result<(), Error> {
        let mut header = Header::new_ustar();
        header.set_mode(0o600);
        self.fill(&mut header, path, EntryType::Regular, Path::new(""), vec![])?;
        self.append(path, &mut header, 0, io::empty())
    }

    /// Writes the end of the archive and gives the writer back.
    pub(crate) fn finish(self) -> Result<W, Error> {
        self.tar
            .into_inner()
            .map_err(|error| Error::system("write the archive", error))
    }

    #[allow(clippy::too_many_arguments)]
    fn write(
        &mut self,
        path: &Path,
        kind: EntryType,
        stat: &Stat,
        link: &Path,
        xattrs: Vec<(String, Vec<u8>)>,
        size: u64,
        data: impl Read,
    ) -> Result<(), Error> {
        let mut header = Header::new_ustar();
        header.set_mode(stat.st_mode & 0o7777);
        let (uid, gid) = (self.ids.inside(stat.st_uid), self.ids.inside(stat.st_gid));
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        let mut records = xattrs;
        for (name, id) in [("uid", uid), ("gid", gid)] {
            // Seven octal digits are what the field holds.
            if id > 0o7_777_777 {
                records.push((name.to_owned(), id.to_string().into_bytes()));
            }
        }
        // Before 1970 there was no file: a clock that was not set.
        header.set_mtime(stat.st_mtime.max(0) as u64);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let number = stat.st_rdev;
            let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
            let set = header
                .set_device_major(major)
                .and_then(|()| header.set_device_minor(minor));
            set.map_err(|error| Error::io("archive the device", path, error))?;
        }
        self.fill(&mut header, path, kind, link, records)?;
        self.append(path, &mut header, size, data)
    }

    /// Puts the names in, in extended records where they do not fit.
    fn fill(
        &mut self,
        header: &mut Header,
        path: &Path,
        kind: EntryType,
        link: &Path,
        mut records: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        header.set_entry_type(kind);
        let mut name = path.as_os_str().as_bytes().to_vec();
        if kind == EntryType::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let link = link.as_os_str().as_bytes();
        for (record, text) in [("path", name.as_slice()), ("linkpath", link)] {
            if text.len() > PLAIN {
                records.push((record.to_owned(), text.to_vec()));
            }
        }
        records.sort();
        if !records.is_empty() {
            let records = records
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice()));
            self.tar
                .append_pax_extensions(records)
                .map_err(|error| Error::io("archive", path, error))?;
        }
        let fields = header
            .as_ustar_mut()
            .expect("it was made as a ustar header");
        for (field, text) in [
            (&mut fields.name, name.as_slice()),
            (&mut fields.linkname, link),
        ] {
            let length = text.len().min(PLAIN);
            field[..length].copy_from_slice(&text[..length]);
        }
        Ok(())
    }

    fn append(
        &mut self,
        path: &Path,
        header: &mut Header,
        size: u64,
        data: impl Read,
    ) -> Result<(), Error> {
        header.set_size(size);
        header.set_cksum();
        self.tar
            .append(header, data)
            .map_err(|error| Error::io("archive", path, error))
    }
}

/// Opens a file again that is held as a mere handle (`O_PATH`).
pub(crate) fn reopen(handle: impl AsFd, flags: OFlags) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(
        rustix::fs::CWD,
        magic(handle),
        flags,
        rustix::fs::Mode::empty(),
    )
}

/// The path of an open file itself, not of its name: proc_pid_fd(5).
pub(crate) fn magic(handle: impl AsFd) -> String {
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}

/// Extended attributes as pax records, without those that only mean something to this overlay or this host.
pub(crate) fn xattrs(handle: impl AsFd) -> Result<Vec<(String, Vec<u8>)>, Errno> {
    let path = magic(handle);
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::listxattr(&path, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(vec![]),
        Err(errno) => return Err(errno),
    };
    let mut found = vec![];
    for name in names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let Ok(text) = std::str::from_utf8(name) else {
            continue;
        };
        if !portable(text) {
            continue;
        }
        let Ok(name) = CString::new(name) else {
            continue;
        };
        let mut value = vec![0u8; 64 << 10];
        match rustix::fs::getxattr(&path, name.as_c_str(), &mut value[..]) {
            Ok(length) => value.truncate(length),
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno),
        }
        found.push((format!("SCHILY.xattr.{text}"), value));
    }
    Ok(found)
}

pub(crate) fn portable(xattr: &str) -> bool {
    xattr == "security.capability"
        || xattr.starts_with("system.posix_acl_")
        || xattr.starts_with("user.") && !xattr.starts_with("user.overlay.")
}
