//! Writes files at paths that the user gives, in directories that may belong to anybody.
//!
//! A file is written without a name (`O_TMPFILE`, open(2)) and named once it is complete and on disk: nobody can plant a link or a pipe
//! under its name or swap it for another file, and a killed process leaves nothing behind. An existing file is replaced, not written
//! to, so other hard links keep its content. On file systems without unnamed files, the file gets a random name and is created with
//! `O_EXCL`.
//!
//! A symbolic link at the path is followed only if it belongs to a trusted user ([`Owners`]), and replaced otherwise. What cannot be
//! replaced by a file, such as a terminal, a pipe or `/dev/stdout`, is written to.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;

use crate::files::ownership::{MOST_LINKS, Owners, open_directory, target_of};

/// Mode of a file that everybody may read, less the umask. A lock file that others can write to is not trusted.
pub const SHARED: u32 = 0o644;
/// Mode of a file that only its owner may access.
pub const PRIVATE: u32 = 0o600;

/// A file being written.
pub struct Destination(Kind);

enum Kind {
    /// An existing file that is written to.
    Through(File),
    New(NewFile),
}

/// A file without a name, or with a random one.
struct NewFile {
    file: File,
    directory: OwnedFd,
    /// Its final name.
    name: OsString,
    /// Its current name.
    aside: Option<OsString>,
}

impl Destination {
    /// Opens a path for writing. A new file gets `mode`, less the umask; a file that replaces one of the caller's own gets the mode of
    /// that.
    pub fn open(path: &Path, mode: u32) -> io::Result<Destination> {
        let owners = Owners::of_this_process();
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(Errno::ISDIR.into());
        }
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let above = match path.parent() {
                Some(above) if above != Path::new("") => above,
                _ => Path::new("."),
            };
            let name = path.file_name().ok_or(Errno::ISDIR)?;
            let directory = open_directory(above)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let there = match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => return create(directory, name, mode, None),
                there => there?,
            };
            let stat = rustix::fs::fstat(&there)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Err(Errno::ISDIR.into()),
                FileType::Symlink if is_of_procfs(&there)? => {
                    return through_procfs(&directory, name);
                }
                FileType::Symlink if owners.own(stat.st_uid) => {
                    path = above.join(target_of(&there)?);
                }
                FileType::RegularFile => {
                    let mine = stat.st_uid == rustix::process::geteuid().as_raw();
                    return create(directory, name, mode, mine.then_some(stat.st_mode & 0o777));
                }
                FileType::Symlink => return create(directory, name, mode, None),
                FileType::Fifo | FileType::Socket if !owners.own(stat.st_uid) => {
                    return Err(io::Error::other(format!(
                        "it is a pipe or socket of user {}",
                        stat.st_uid
                    )));
                }
                _ => return reopen(&there),
            }
        }
        Err(Errno::LOOP.into())
    }

    /// Completes the file: syncs a new file to disk and names it.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Kind::Through(_) => Ok(()),
            Kind::New(new) => new.publish(),
        }
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Through(file) | Kind::New(NewFile { file, .. }) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a small file.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut destination = Destination::open(path, SHARED)?;
    destination.write_all(bytes)?;
    destination.finish()
}

fn is_of_procfs(link: &OwnedFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(link)?.f_type == PROC_SUPER_MAGIC)
}

/// Opens a descriptor of a process. One of our own, such as `/dev/stdout`, is duplicated in order to keep its position, not reopened.
fn through_procfs(directory: &OwnedFd, name: &OsStr) -> io::Result<Destination> {
    let stat = rustix::fs::statat(directory, name, AtFlags::empty())?;
    let own = [rustix::stdio::stdout(), rustix::stdio::stderr()];
    for descriptor in own {
        let open = rustix::fs::fstat(descriptor)?;
        if (open.st_dev, open.st_ino) == (stat.st_dev, stat.st_ino) {
            let file = rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?;
            return Ok(Destination(Kind::Through(file.into())));
        }
    }
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    Ok(Destination(Kind::Through(file.into())))
}

/// Opens for writing exactly the file that was checked.
fn reopen(there: &OwnedFd) -> io::Result<Destination> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::openat(CWD, own_name(there), flags, Mode::empty())?;
    Ok(Destination(Kind::Through(file.into())))
}

fn own_name(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn create(
    directory: OwnedFd,
    name: &OsStr,
    mode: u32,
    kept: Option<u32>,
) -> io::Result<Destination> {
    let mode = Mode::from_raw_mode(mode);
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let new = match rustix::fs::openat(&directory, c".", flags, mode) {
        // Errors of file systems and kernels without unnamed files, open(2).
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
            NewFile::aside(directory, name, mode)?
        }
        file => NewFile {
            file: file?.into(),
            directory,
            name: name.to_owned(),
            aside: None,
        },
    };
    if let Some(kept) = kept {
        rustix::fs::fchmod(&new.file, Mode::from_raw_mode(kept))?;
    }
    Ok(Destination(Kind::New(new)))
}

/// A hidden random name. Contains only so much of the name that it does not exceed the length limit.
fn random_name(name: &OsStr) -> io::Result<OsString> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let short = &name.as_bytes()[..name.len().min(200)];
    let mut text = OsString::from(".");
    text.push(OsStr::from_bytes(short));
    text.push(format!(".{:032x}", u128::from_ne_bytes(random)));
    Ok(text)
}

impl NewFile {
    /// Creates a file that has a random name from the beginning.
    fn aside(directory: OwnedFd, name: &OsStr, mode: Mode) -> io::Result<NewFile> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let aside = random_name(name)?;
            match rustix::fs::openat(&directory, &aside, flags, mode) {
                Err(Errno::EXIST) => {}
                file => {
                    return Ok(NewFile {
                        file: file?.into(),
                        directory,
                        name: name.to_owned(),
                        aside: Some(aside),
                    });
                }
            }
        }
    }

    fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let aside = match &self.aside {
            Some(aside) => aside.clone(),
            None if self.link(&self.name)? => return Ok(()),
            None => loop {
                let aside = random_name(&self.name)?;
                if self.link(&aside)? {
                    self.aside = Some(aside.clone());
                    break aside;
                }
            },
        };
        rustix::fs::renameat(&self.directory, &aside, &self.directory, &self.name)?;
        self.aside = None;
        Ok(())
    }

    /// Names an unnamed file. Returns false if the name is taken.
    fn link(&self, name: &OsStr) -> io::Result<bool> {
        let flags = AtFlags::SYMLINK_FOLLOW;
        match rustix::fs::linkat(CWD, own_name(&self.file), &self.directory, name, flags) {
            Err(Errno::EXIST) => Ok(false),
            linked => Ok(linked.map(|()| true)?),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside {
            // The earlier error is the one to report.
            let _ = rustix::fs::unlinkat(&self.directory, aside, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let listing = std::fs::read_dir(directory).unwrap();
        listing
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_has_no_name_before_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for text in ["first", "second"] {
            let before = names(dir.path());
            let mut destination = Destination::open(&path, SHARED).unwrap();
            destination.write_all(text.as_bytes()).unwrap();
            assert_eq!(names(dir.path()), before);
            destination.finish().unwrap();
            assert_eq!(names(dir.path()), ["f"]);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        drop(Destination::open(&path, SHARED).unwrap());
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_file_that_needs_a_name_has_one_that_nobody_guesses() {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(255);
        for name in ["f", &long] {
            let make = || {
                let directory = open_directory(dir.path()).unwrap();
                NewFile::aside(directory, name.as_ref(), Mode::from_raw_mode(PRIVATE)).unwrap()
            };
            let (one, mut two) = (make(), make());
            let found = names(dir.path());
            assert_eq!(found.len(), 2, "{found:?}");
            let hidden = |name: &String| name.starts_with(".") && name.len() > 32;
            assert!(found.iter().all(hidden), "{found:?}");
            drop(one);
            two.file.write_all(b"text").unwrap();
            two.publish().unwrap();
            assert_eq!(names(dir.path()), [name]);
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}
