#![allow(clippy::unwrap_used)]
use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

/// A host directory and a container's root beside each other.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "root/etc", "root/tmp", "outside"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn inside(&self) -> Tree {
        let root = fs::File::open(self.at("root")).unwrap();
        Tree::confined(root.into(), "web")
    }

    fn copy_in(&self, from: &str, to: &str) -> Result<Copied, Error> {
        let options = CopyOptions {
            inward: true,
            ..CopyOptions::default()
        };
        // A slash at the end counts, and a join would lose it.
        let from = PathBuf::from(format!("{}/{from}", self.dir.path().display()));
        copy(
            &Tree::host(),
            &from,
            &self.inside(),
            Path::new(to),
            &options,
            &|| false,
        )
    }

    fn copy_out(&self, from: &str, to: &str) -> Result<Copied, Error> {
        let to = PathBuf::from(format!("{}/{to}", self.dir.path().display()));
        copy(
            &self.inside(),
            Path::new(from),
            &Tree::host(),
            &to,
            &CopyOptions::default(),
            &|| false,
        )
    }
}

#[test]
fn files_get_a_new_name_or_keep_theirs() {
    let it = Fixture::new();
    it.file("host/a", "one");
    it.copy_in("host/a", "/tmp").unwrap();
    it.copy_in("host/a", "/tmp/").unwrap();
    it.copy_in("host/a", "/tmp/b").unwrap();
    it.copy_in("host/a", "relative").unwrap();
    assert_eq!(
        [
            it.read("root/tmp/a"),
            it.read("root/tmp/b"),
            it.read("root/relative")
        ],
        ["one", "one", "one"]
    );
    it.file("host/a", "two");
    assert_eq!(
        it.copy_in("host/a", "/tmp/b").unwrap(),
        Copied {
            files: 1,
            bytes: 3,
            ..Copied::default()
        }
    );
    assert_eq!(it.read("root/tmp/b"), "two");
    assert!(it.copy_in("host/a", "/missing/").is_err());
    assert!(it.copy_in("host/a", "/missing/b").is_err());
    assert!(it.copy_in("host/missing", "/tmp").is_err());
    assert!(it.copy_in("host/a", "/tmp/b/").is_err());
}

#[test]
fn directories_are_merged_or_made() {
    let it = Fixture::new();
    it.file("host/d/x/y", "1");
    it.copy_in("host/d", "/tmp").unwrap();
    it.copy_in("host/d", "/tmp/new").unwrap();
    it.copy_in("host/d/.", "/tmp").unwrap();
    it.file("host/d/x/z", "2");
    it.copy_in("host/d", "/tmp").unwrap();
    for path in ["root/tmp/d/x/y", "root/tmp/new/x/y", "root/tmp/x/y"] {
        assert_eq!(it.read(path), "1", "{path}");
    }
    assert_eq!(it.read("root/tmp/d/x/z"), "2");
    it.file("root/tmp/file", "");
    assert!(it.copy_in("host/d", "/tmp/file").is_err());
    it.copy_out("/tmp/.", "host/out").unwrap();
    assert_eq!(it.read("host/out/d/x/z"), "2");
    it.copy_out("/", "host/all").unwrap();
    assert_eq!(it.read("host/all/tmp/d/x/z"), "2");
}

#[test]
fn no_link_leads_out() {
    let it = Fixture::new();
    it.file("host/a", "new");
    it.file("outside/secret", "secret");
    let outside = it.at("outside");
    symlink(&outside, it.at("root/tmp/out")).unwrap();
    symlink(outside.join("secret"), it.at("root/tmp/file")).unwrap();
    symlink("../../../../../../../../../etc/made", it.at("root/tmp/up")).unwrap();
    assert!(it.copy_in("host/a", "/tmp/out/x").is_err());
    assert!(it.copy_in("host/a", "/tmp/out/").is_err());
    assert!(it.copy_in("host/a", "/tmp/file").is_err());
    it.copy_in("host/a", "/tmp/up").unwrap();
    assert_eq!(it.read("root/etc/made"), "new");
    it.copy_in("host/a", "../../etc/dots").unwrap();
    assert_eq!(it.read("root/etc/dots"), "new");
    // Links are copied as links, and only followed inside.
    it.copy_out("/tmp/file", "host/link").unwrap();
    assert_eq!(
        fs::read_link(it.at("host/link")).unwrap(),
        outside.join("secret")
    );
    let follow = CopyOptions {
        follow: true,
        ..CopyOptions::default()
    };
    assert!(
        copy(
            &it.inside(),
            Path::new("/tmp/file"),
            &Tree::host(),
            &it.at("host/b"),
            &follow,
            &|| false
        )
        .is_err()
    );
    assert!(it.copy_out("/tmp/out/secret", "host/c").is_err());
    assert_eq!(it.read("outside/secret"), "secret");
    // In a tree that is copied, a link of the destination is replaced and not followed.
    it.file("host/d/out", "mine");
    it.copy_in("host/d/.", "/tmp").unwrap();
    assert_eq!(it.read("root/tmp/out"), "mine");
    assert!(!outside.join("out").exists());
}

#[test]
fn a_link_planted_where_everybody_writes_is_not_followed() {
    let fixture = Fixture::new();
    let set = |mode| {
        let mode = PermissionsExt::from_mode(mode);
        fs::set_permissions(fixture.at("host"), mode).unwrap();
    };
    let path = fixture.at("host/link");
    let followed = |owner: u32| {
        let _ = fs::remove_file(&path);
        symlink("../outside/new", &path).unwrap();
        std::os::unix::fs::lchown(&path, Some(owner), None).unwrap();
        // As if it had not been there when the kernel looked.
        let target = Tree::host().follow(&path);
        target.is_ok_and(|target| target.name == "new")
    };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    set(0o1777);
    assert_eq!((followed(0), followed(12345)), (true, false));
    set(0o755);
    assert_eq!((followed(0), followed(12345)), (true, true));
}

#[test]
fn no_magic_link_leads_out() {
    let it = Fixture::new();
    // What /proc/1/root would be in a container.
    let root = fs::File::open("/").unwrap();
    let tree = Tree::confined(root.into(), "web");
    let error = copy(
        &tree,
        Path::new("/proc/self/root/etc"),
        &Tree::host(),
        &it.at("host/x"),
        &CopyOptions::default(),
        &|| false,
    );
    assert!(error.is_err());
}

#[test]
fn what_is_copied_of_a_file() {
    let it = Fixture::new();
    it.file("root/tmp/program", "#!");
    fs::set_permissions(
        it.at("root/tmp/program"),
        fs::Permissions::from_mode(0o4755),
    )
    .unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(it.at("root/tmp/program"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    it.copy_out("/tmp/program", "host").unwrap();
    let copied = fs::metadata(it.at("host/program")).unwrap();
    assert_eq!(
        (copied.mode() & 0o7777, copied.mtime()),
        (0o755, 1_000_000_000)
    );
    let options = CopyOptions {
        archive: true,
        ..CopyOptions::default()
    };
    copy(
        &it.inside(),
        Path::new("/tmp/program"),
        &Tree::host(),
        &it.at("host"),
        &options,
        &|| false,
    )
    .unwrap();
    assert_eq!(
        fs::metadata(it.at("host/program")).unwrap().mode() & 0o7777,
        0o4755
    );
}

#[test]
fn sockets_and_devices_are_left_out_and_a_fifo_does_not_block() {
    let it = Fixture::new();
    let node = |name: &str, kind, device| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            it.at(name),
            kind,
            rustix::fs::Mode::RUSR,
            device,
        )
        .unwrap();
    };
    node("root/tmp/fifo", FileType::Fifo, 0);
    node(
        "root/tmp/null",
        FileType::CharacterDevice,
        rustix::fs::makedev(1, 3),
    );
    let _socket = std::os::unix::net::UnixListener::bind(it.at("root/tmp/socket")).unwrap();
    let copied = it.copy_out("/tmp", "host/out").unwrap();
    assert_eq!(
        copied,
        Copied {
            files: 2,
            skipped: 2,
            ..Copied::default()
        }
    );
    assert!(it.at("host/out/fifo").exists() && !it.at("host/out/null").exists());
}

#[test]
fn an_archive_holds_a_tree_under_its_name() {
    let it = Fixture::new();
    it.file("root/tmp/d/x", "1");
    symlink("x", it.at("root/tmp/d/y")).unwrap();
    let mut bytes = vec![];
    write_archive(
        &it.inside(),
        Path::new("/tmp/d"),
        &CopyOptions::default(),
        &mut bytes,
    )
    .unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().unwrap();
    let names: Vec<_> = entries
        .map(|entry| entry.unwrap().path().unwrap().into_owned())
        .collect();
    assert_eq!(names, ["d/", "d/x", "d/y"].map(PathBuf::from));
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut file = archive.entries().unwrap().nth(1).unwrap().unwrap();
    assert_eq!(std::io::read_to_string(&mut file).unwrap(), "1");
}

#[test]
fn what_is_stopped_leaves_nothing() {
    let it = Fixture::new();
    for name in ["a", "b/c", "b/d"] {
        it.file(&format!("root/tmp/{name}"), "text");
    }
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 4
    };
    let failure = copy(
        &it.inside(),
        Path::new("/tmp"),
        &Tree::host(),
        &it.at("host/new"),
        &CopyOptions::default(),
        &stop,
    );
    assert!(failure.unwrap_err().to_string().contains("interrupted"));
    assert_eq!(fs::read_dir(it.at("host")).unwrap().count(), 0);
}

#[test]
fn a_file_that_changes_its_length_is_copied_as_it_is() {
    let it = Fixture::new();
    let at = |name: &str| it.at(name);
    let file = |name: &str| -> std::os::fd::OwnedFd {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true);
        options.truncate(false).open(at(name)).unwrap().into()
    };
    it.file("host/a", &"x".repeat(300_000));
    let never = || false;
    // It says that it is longer than it is by now, or shorter.
    for (said, length) in [(500_000, 300_000), (300_000, 300_000), (100_000, 100_000)] {
        let to = format!("host/{said}");
        let bytes = content::copy(&file("host/a"), said, &file(&to), &never).unwrap();
        assert_eq!(bytes, length);
        assert_eq!(fs::metadata(at(&to)).unwrap().len(), length, "{said}");
    }
}

#[test]
fn what_a_directory_is_left_out_of_is_told_by_its_device() {
    assert!(entry::is_kernels(fs::File::open("/proc").unwrap()));
    assert!(entry::is_kernels(fs::File::open("/sys").unwrap()));
    assert!(!entry::is_kernels(fs::File::open("/tmp").unwrap()));
}
