//! Trees made by chance: packed by GNU tar, unpacked by it and by us, they are the same.
#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use box_unpack::{Limits, unpack_archive};
use proptest::prelude::*;
use support::{assert_same, gnu_tar, require_root};

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>),
    Directory,
    Symlink(Vec<u8>),
    /// A second name of one of the files before it.
    HardLink(prop::sample::Index),
    Fifo,
    Device(u32, u32),
}

#[derive(Debug, Clone)]
struct Planned {
    /// Which of the directories so far it is in.
    parent: prop::sample::Index,
    name: Vec<u8>,
    node: Node,
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => 0x21u8..0x7f, 1 => 1u8..=255];
    let length = prop_oneof![8 => 1..12usize, 1 => 90..110usize, 1 => 200..255usize];
    length
        .prop_flat_map(move |length| prop::collection::vec(byte.clone(), length))
        .prop_map(|name| {
            name.into_iter()
                .map(|b| if b == b'/' { b'_' } else { b })
                .collect()
        })
        .prop_filter("neither . nor .. nor a whiteout", |name: &Vec<u8>| {
            name != b"." && name != b".." && !name.starts_with(b".wh.")
        })
}

fn node() -> impl Strategy<Value = Node> {
    let length = prop_oneof![
        Just(0usize),
        1..600usize,
        Just(512usize),
        300_000..400_000usize
    ];
    let content = (length, any::<u8>()).prop_map(|(length, seed)| {
        (0..length)
            .map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed))
            .collect()
    });
    prop_oneof![
        6 => content.prop_map(Node::File),
        3 => Just(Node::Directory),
        2 => prop::collection::vec(1u8..=255, 1..150).prop_map(Node::Symlink),
        2 => any::<prop::sample::Index>().prop_map(Node::HardLink),
        1 => Just(Node::Fifo),
        1 => (0..4096u32, 0..1_048_576u32).prop_map(|(major, minor)| Node::Device(major, minor)),
    ]
}

fn planned() -> impl Strategy<Value = Planned> {
    let id = || prop_oneof![4 => Just(0u32), 1 => 1..4_000_000_000u32];
    let time = (0..1_700_000_000i64, 0..1_000_000_000i64);
    (
        any::<prop::sample::Index>(),
        name(),
        node(),
        0..0o10000u32,
        (id(), id()),
        time,
    )
        .prop_map(|(parent, name, node, mode, owner, time)| Planned {
            parent,
            name,
            node,
            mode,
            owner,
            time,
        })
}

fn build(root: &Path, plan: &[Planned]) {
    let mut directories = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    let mut made = Vec::new();
    for entry in plan {
        let path =
            directories[entry.parent.index(directories.len())].join(OsStr::from_bytes(&entry.name));
        if fs::symlink_metadata(&path).is_ok() || path.as_os_str().len() > 3000 {
            continue;
        }
        let here = rustix::fs::CWD;
        let mode = rustix::fs::Mode::RUSR;
        match &entry.node {
            Node::File(content) => {
                fs::write(&path, content).unwrap();
                files.push(path.clone());
            }
            Node::Directory => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
            Node::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Node::HardLink(_) if files.is_empty() => continue,
            Node::HardLink(file) => {
                fs::hard_link(&files[file.index(files.len())], &path).unwrap();
                continue;
            }
            Node::Fifo => {
                rustix::fs::mknodat(here, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap()
            }
            Node::Device(major, minor) => {
                let device = rustix::fs::makedev(*major, *minor);
                rustix::fs::mknodat(
                    here,
                    &path,
                    rustix::fs::FileType::CharacterDevice,
                    mode,
                    device,
                )
                .unwrap();
            }
        }
        made.push((path, entry));
    }
    // Children first, so that directories' times last.
    for (path, entry) in made.iter().rev() {
        if matches!(entry.node, Node::Symlink(_)) {
            lchown(path, Some(entry.owner.0), Some(entry.owner.1)).unwrap();
        } else {
            chown(path, Some(entry.owner.0), Some(entry.owner.1)).unwrap();
            fs::set_permissions(path, Permissions::from_mode(entry.mode)).unwrap();
        }
        let time = rustix::fs::Timespec {
            tv_sec: entry.time.0,
            tv_nsec: entry.time.1,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_trees_survive_the_trip(plan in prop::collection::vec(planned(), 0..60), gnu in any::<bool>()) {
        require_root();
        let dir = tempfile::tempdir().unwrap();
        let original = dir.path().join("original");
        fs::create_dir(&original).unwrap();
        build(&original, &plan);
        let archive = dir.path().join("archive");
        let format = if gnu { "--format=gnu" } else { "--format=posix" };
        let mut tar = Command::new("tar");
        tar.args([format, "--sort=name", "-cf"]).arg(&archive).arg("-C").arg(&original).arg(".");
        prop_assert!(tar.status().unwrap().success());
        let ours = dir.path().join("ours");
        unpack_archive(File::open(&archive).unwrap(), &ours, &Limits::default()).unwrap();
        let theirs = dir.path().join("theirs");
        gnu_tar(&archive, &theirs);
        assert_same(&ours, &theirs);
        if !gnu {
            assert_same(&ours, &original);
        }
    }
}
