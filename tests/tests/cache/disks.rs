//! Full disks and disks that cannot be written to.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use box_tests::Home;

use crate::check;

/// A mount that is removed at the end of the test.
struct Mount(PathBuf);

impl Mount {
    fn make(arguments: &[&str], at: &Path) -> Mount {
        fs::create_dir_all(at).unwrap();
        let status = Command::new("mount")
            .args(arguments)
            .arg(at)
            .status()
            .unwrap();
        assert!(status.success(), "mount {arguments:?} {}", at.display());
        Mount(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The leftover check of the home tells where this does not work.
        Command::new("umount").arg(&self.0).status().ok();
    }
}

/// Writes until the disk is full.
fn fill(directory: &Path) {
    let mut file = fs::File::create(directory.join("filler")).unwrap();
    let mut block = vec![0; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

#[test]
fn a_pull_that_does_not_fit_leaves_the_cache_as_it_was() {
    let home = Home::new();
    for size in ["1m", "3m", "6m", "9m"] {
        let _disk = Mount::make(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            &home.root(),
        );
        home.run(["pull", "-q", "alpine:3.20"])
            .fails(&["no space left"]);
        home.run(["images", "-q"]).succeeds();
        assert!(check::sound(&home.cache()).is_empty(), "with {size}");
        home.run(["verify"]).succeeds();
        home.run(["gc"]).succeeds();
        assert!(
            check::names(&home.root().join("layers/.staging")).is_empty(),
            "with {size}"
        );
    }
}

/// A subvolume of a new btrfs with a quota. This quota needs the least kernel configuration:
/// those of ext4, XFS and tmpfs are options of its configuration.
struct Quota {
    subvolume: PathBuf,
    _here: Mount,
    _disk: Mount,
}

impl Quota {
    /// Mounts it at `at`, without a bound.
    fn make(home: &Home, at: &Path) -> Quota {
        let image = home.path().join("disk");
        fs::File::create(&image)
            .unwrap()
            .set_len(256 << 20)
            .unwrap();
        let made = Command::new("mkfs.btrfs").arg("-q").arg(&image).output();
        assert!(made.unwrap().status.success());
        let top = home.path().join("volume");
        let disk = Mount::make(&["-o", "loop", image.to_str().unwrap()], &top);
        let subvolume = top.join("box");
        btrfs(&["quota", "enable"], &top);
        btrfs(&["subvolume", "create"], &subvolume);
        let here = Mount::make(&["--bind", subvolume.to_str().unwrap()], at);
        Quota {
            subvolume,
            _here: here,
            _disk: disk,
        }
    }

    /// Leaves this many bytes beyond the used ones; `None` removes the quota.
    fn leave(&self, bytes: Option<u64>) {
        let show = ["qgroup", "show", "--raw", "-f", "--sync"];
        let shown = btrfs(&show, &self.subvolume);
        // A line for each group: its name, then its bytes.
        let used = shown
            .lines()
            .last()
            .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        let limit = bytes.map_or("none".to_owned(), |bytes| {
            (used.unwrap() + bytes).to_string()
        });
        btrfs(&["qgroup", "limit", &limit], &self.subvolume);
    }
}

fn btrfs(arguments: &[&str], path: &Path) -> String {
    let output = Command::new("btrfs")
        .args(arguments)
        .arg(path)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "btrfs {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_pull_beyond_the_quota_leaves_the_cache_as_it_was() {
    let home = Home::new();
    let quota = Quota::make(&home, &home.root());
    home.run(["pull", "-q", "alpine:3.18"]).succeeds();
    let index = fs::read(home.cache().join("index.json")).unwrap();
    let blobs = check::names(&home.cache().join("blobs/sha256"));
    for bytes in [100_000, 2 << 20, 5 << 20] {
        quota.leave(Some(bytes));
        home.run(["pull", "-q", "alpine:3.20"])
            .fails(&["disk quota exceeded"])
            .hints(&["free some space"]);
        assert_eq!(
            fs::read(home.cache().join("index.json")).unwrap(),
            index,
            "with {bytes}"
        );
        assert_eq!(
            check::names(&home.cache().join("blobs/sha256")),
            blobs,
            "with {bytes}"
        );
        check::sound(&home.cache());
        home.run(["verify"]).succeeds();
        assert!(check::names(&home.root().join("layers/.staging")).is_empty());
    }
    quota.leave(None);
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    // Existing data can be deleted without any free space.
    quota.leave(Some(0));
    home.run(["rmi", "alpine:3.20"]).succeeds();
    home.run(["gc"]).succeeds();
    assert_eq!(
        check::sound(&home.cache()),
        ["alpine:3.18".to_owned()].into()
    );
}

#[test]
fn deleting_works_on_a_full_disk() {
    let home = Home::new();
    for kind in ["tmpfs", "ext4"] {
        let _disk = match kind {
            "tmpfs" => Mount::make(&["-t", "tmpfs", "-o", "size=40m", "tmpfs"], &home.root()),
            _ => {
                let image = home.path().join("disk");
                fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
                let made = Command::new("mkfs.ext4")
                    .args(["-q", "-F", "-m", "0"])
                    .arg(&image)
                    .status()
                    .unwrap();
                assert!(made.success());
                Mount::make(&["-o", "loop", image.to_str().unwrap()], &home.root())
            }
        };
        for image in ["alpine:3.18", "alpine:3.20"] {
            home.run(["pull", "-q", image]).succeeds();
        }
        fill(&home.root());
        home.run(["rmi", "alpine:3.18"]).succeeds();
        assert_eq!(
            check::sound(&home.cache()),
            ["alpine:3.20".to_owned()].into(),
            "{kind}"
        );
        fill(&home.root());
        let freed = home
            .run(["gc", "--max-size", "1k", "--format", "json"])
            .succeeds()
            .json();
        assert_eq!(
            freed["evicted"][0]["reference"], "alpine:3.20",
            "{kind}: {freed}"
        );
        assert!(check::sound(&home.cache()).is_empty());
        assert!(
            check::names(&home.cache().join("blobs/sha256")).is_empty(),
            "{kind}"
        );
        let layers = check::names(&home.root().join("layers"));
        assert!(
            layers.iter().all(|name| name.starts_with('.')),
            "{kind}: {layers:?}"
        );
        fs::remove_file(home.root().join("filler")).unwrap();
        home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    }
}

#[test]
fn what_is_cached_works_from_a_read_only_disk() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let cache = home.cache().to_str().unwrap().to_owned();
    {
        let _disk = Mount::make(&["--bind", &cache], &home.cache());
        let remounted = Command::new("mount")
            .args(["-o", "remount,bind,ro", &cache])
            .status()
            .unwrap();
        assert!(remounted.success());
        home.run(["run", "--rm", "alpine:3.20", "true"]).succeeds();
        home.run(["images"]).succeeds();
        home.run(["verify"]).succeeds();
        home.run(["df"]).succeeds();
        home.run(["save", "alpine:3.20", "-o", "x.tar"]).succeeds();
        home.run(["pull", "-q", "alpine:3.18"])
            .fails(&["read-only file system"]);
        home.run(["rmi", "alpine:3.20"])
            .fails(&["read-only file system"]);
        home.run(["load", "-i", "x.tar"])
            .fails(&["read-only file system"]);
    }
    assert_eq!(
        check::sound(&home.cache()),
        ["alpine:3.20".to_owned()].into()
    );
}
