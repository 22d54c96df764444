//! Files replaced as a whole: written aside, brought to the disk, renamed.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How much of a replaced file survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing is waited for. After a power cut the file may be empty: for what can be made again, or belongs to a running process.
    None,
    /// There is the old file or the whole new one: one fsync(2).
    Content,
    /// There is the new file: a second fsync(2), of the directory.
    Name,
}

/// Replaces a file, or makes it. Readers see the old content or the new one, never a part; a failure leaves the old one.
///
/// The new file has this mode, less the umask. It is written beside the old one, as `.NAME.new`. A process that is killed leaves that
/// behind, and the next one removes it: only one process at a time may replace a file, so the caller holds a lock.
pub fn replace_file(
    path: &Path,
    mode: u32,
    durability: Durability,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let (mut file, aside) = create_beside(path, mode)?;
    let replaced = write(&mut file).and_then(|()| {
        if durability != Durability::None {
            file.sync_all()?;
        }
        std::fs::rename(&aside, path)
    });
    if replaced.is_err() {
        // The first failure is the one to report.
        let _ = std::fs::remove_file(&aside);
        return replaced;
    }
    match durability {
        Durability::Name => sync_directory(directory_of(path)),
        Durability::None | Durability::Content => Ok(()),
    }
}

/// Brings the names in a directory to the disk.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn create_beside(path: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let aside = path.with_file_name(hidden);
    loop {
        let mut options = File::options();
        match options.write(true).create_new(true).mode(mode).open(&aside) {
            // Left behind by a killed process.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&aside)?;
            }
            opened => return opened.map(|file| (file, aside)),
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn names(directory: &Path) -> Vec<String> {
        let listing = std::fs::read_dir(directory).unwrap();
        let names = listing.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        for (durability, text) in [
            (Durability::None, "first"),
            (Durability::Content, "second"),
            (Durability::Name, "third"),
        ] {
            let before = std::fs::read_to_string(&path).ok();
            replace_file(&path, 0o600, durability, |file| {
                file.write_all(text.as_bytes())?;
                assert_eq!(std::fs::read_to_string(&path).ok(), before);
                Ok(())
            })
            .unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(dir.path()), ["record"]);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let failed = replace_file(&path, 0o600, Durability::Name, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(names(dir.path()), ["record"]);
    }

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        std::fs::write(dir.path().join(".record.new"), "left by a killed process").unwrap();
        replace_file(&path, 0o644, Durability::None, |file| {
            file.write_all(b"new")
        })
        .unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(dir.path()), ["record"]);
    }
}
