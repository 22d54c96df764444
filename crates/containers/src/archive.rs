//! Reproducible tar archives in the POSIX (pax) format, which OCI layers use, written from open files.

mod pax;
mod sparse;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use crate::Error;
use crate::files::descriptor::{path_of, reopen};
use crate::files::extents::MOST_UNSIZED;
use crate::files::xattrs::{self, Xattr};
use crate::ids::{Ids, Mapping};
use pax::Record;

/// Writes one archive.
pub(crate) struct Archive<W: Write> {
    tar: Builder<W>,
    /// The first name of each file with several names, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    ids: Ids,
    /// Number of files whose overlay attributes were left out, and the first of them.
    left_out: (u64, Option<String>),
    /// Sparse files are written as such.
    holes: bool,
}

/// The longest path or link target of a ustar header.
const PLAIN: usize = 100;

/// The largest file of a layer, holes included: unpacking has the same limit.
const LONGEST: u64 = 128 << 30;

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W, ids: Ids) -> Self {
        Self {
            tar: Builder::new(out),
            links: HashMap::new(),
            ids,
            left_out: (0, None),
            holes: false,
        }
    }

    /// Writes sparse files as such. Not for layers: layer.md of the image specification asks for no sparse entries.
    pub(crate) fn with_holes(self) -> Self {
        Self {
            holes: true,
            ..self
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
        let records = self
            .xattrs(path, &path_of(&handle))
            .map_err(read("read the xattrs of"))?;
        match kind {
            EntryType::Regular => self.add_file(path, &handle, stat, records),
            EntryType::Symlink => {
                let target =
                    rustix::fs::readlinkat(&handle, "", vec![]).map_err(read("read link"))?;
                let target = PathBuf::from(OsString::from(std::ffi::OsStr::from_bytes(
                    target.as_bytes(),
                )));
                self.write(path, kind, stat, &target, records, 0, io::empty())
            }
            _ => self.write(path, kind, stat, Path::new(""), records, 0, io::empty()),
        }
    }

    /// The extended attributes of a file as records, with the container's ids.
    fn xattrs(&mut self, path: &Path, file: &str) -> Result<Vec<Record>, Errno> {
        if let Some(name) = xattrs::overlay_control(file)? {
            self.left_out.0 += 1;
            self.left_out
                .1
                .get_or_insert_with(|| format!("{} of /{}", name.escape_ascii(), path.display()));
        }
        let record = |mut xattr: Xattr| {
            xattr.map(Mapping::Inside(self.ids));
            (xattr.key(), xattr.value)
        };
        Ok(xattrs::read(file)?.into_iter().map(record).collect())
    }

    fn add_file(
        &mut self,
        path: &Path,
        handle: impl AsFd,
        stat: &Stat,
        mut records: Vec<Record>,
    ) -> Result<(), Error> {
        let failed = |action: &'static str| move |errno: Errno| Error::io(action, path, errno);
        let kind = EntryType::Regular;
        let (size, none) = (stat.st_size as u64, Path::new(""));
        let file = reopen(&handle, OFlags::RDONLY).map_err(failed("open"))?;
        if size == 0 {
            // Files in /proc report no size.
            let mut data = vec![];
            std::fs::File::from(file)
                .take(MOST_UNSIZED)
                .read_to_end(&mut data)
                .map_err(|error| Error::io("read", path, error))?;
            let size = data.len() as u64;
            return self.write(path, kind, stat, none, records, size, data.as_slice());
        }
        if self.holes
            && let Some(map) = sparse::Map::of(&file, size).map_err(failed("find the holes of"))?
        {
            records.extend(sparse::records(path, size));
            let (length, data) = map.member(file);
            let name = sparse::plain_name(path);
            return self.write(&name, kind, stat, none, records, length, data);
        }
        if !self.holes && size > LONGEST {
            let why = format!(
                "it has {size} bytes, and no layer can contain a file of more than {LONGEST}"
            );
            return Err(Error::copy("archive", path, why));
        }
        // The search for holes has moved the offset.
        rustix::fs::seek(&file, SeekFrom::Start(0)).map_err(failed("read"))?;
        // The size is in the header already; the container may truncate or extend the file meanwhile.
        let data = std::fs::File::from(file).chain(io::repeat(0)).take(size);
        self.write(path, kind, stat, none, records, size, data)
    }

    /// Adds an empty file that is owned by root and has no modification time.
    pub(crate) fn mark(&mut self, path: &Path) -> Result<(), Error> {
        let mut header = Header::new_ustar();
        header.set_mode(0o600);
        self.fill(&mut header, path, EntryType::Regular, Path::new(""), vec![])?;
        self.append(path, &mut header, 0, io::empty())
    }

    /// Writes the end of the archive and returns the writer.
    pub(crate) fn finish(self) -> Result<W, Error> {
        if let (count, Some(first)) = &self.left_out {
            tracing::warn!(
                "extended attributes of {count} files are left out, such as {first}: they would control the overlay of a container"
            );
        }
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
        mut records: Vec<Record>,
        size: u64,
        data: impl Read,
    ) -> Result<(), Error> {
        let mut header = Header::new_ustar();
        header.set_mode(stat.st_mode & 0o7777);
        let (uid, gid) = (self.ids.inside(stat.st_uid), self.ids.inside(stat.st_gid));
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        for (name, id) in [("uid", uid), ("gid", gid)] {
            // The field has seven octal digits.
            if id > 0o7_777_777 {
                records.push((name.into(), id.to_string().into_bytes()));
            }
        }
        // Times before 1970 come from a clock that was not set.
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

    /// Fills in the names; those that do not fit go into extended records.
    fn fill(
        &mut self,
        header: &mut Header,
        path: &Path,
        kind: EntryType,
        link: &Path,
        mut records: Vec<Record>,
    ) -> Result<(), Error> {
        header.set_entry_type(kind);
        let mut name = path.as_os_str().as_bytes().to_vec();
        if kind == EntryType::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let link = link.as_os_str().as_bytes();
        for (record, text) in [("path", name.as_slice()), ("linkpath", link)] {
            if text.len() > PLAIN {
                records.push((record.into(), text.to_vec()));
            }
        }
        records.sort();
        if !records.is_empty() {
            self.extend(&records)
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

    /// Writes an extended header.
    fn extend(&mut self, records: &[Record]) -> io::Result<()> {
        let text = pax::text(records);
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(text.len() as u64);
        header.set_cksum();
        self.tar.append(&header, text.as_slice())
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
