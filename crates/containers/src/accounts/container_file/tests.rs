#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{XattrFlags, makedev, mknodat, setxattr};

use super::*;
use crate::storage::overlay::Overlay;
use rustix::fs::{CWD, FileType};

/// Directories to be stacked, and a place for the overlay's own.
struct Stack(tempfile::TempDir, Vec<PathBuf>);

impl Stack {
    fn new(layers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<_> = (0..layers)
            .map(|number| dir.path().join(format!("layer{number}")))
            .collect();
        for path in layers
            .iter()
            .chain([&dir.path().join("upper"), &dir.path().join("work")])
        {
            fs::create_dir(path).unwrap();
        }
        Self(dir, layers)
    }

    fn layers(&self) -> Layers {
        Layers::of_directories(self.1.clone())
    }

    fn path(&self, layer: usize, name: &str) -> PathBuf {
        let path = self.1[layer].join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, layer: usize, name: &str) {
        fs::write(self.path(layer, name), format!("{layer} {name}")).unwrap();
    }

    fn link(&self, layer: usize, name: &str, target: &str) {
        symlink(target, self.path(layer, name)).unwrap();
    }

    fn node(&self, layer: usize, name: &str, device: u64) {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(
            CWD,
            self.path(layer, name),
            FileType::CharacterDevice,
            mode,
            device,
        )
        .unwrap();
    }

    fn opaque(&self, layer: usize, name: &str) {
        let path = self.path(layer, name);
        fs::create_dir_all(&path).unwrap();
        setxattr(path, c"trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    }

    /// The same layers, as the kernel merges them.
    fn kernels(&self) -> OwnedFd {
        let own = |name: &str| self.0.path().join(name);
        let overlay = Overlay::new(self.layers(), own("upper"), own("work"), false).unwrap();
        overlay.detached().unwrap().unwrap()
    }

    fn read(&self, path: &str, mounts: &[Mount]) -> Option<String> {
        text(Lookup::in_layers(&self.layers(), mounts), path)
    }
}

fn text(mut lookup: Lookup<'_>, path: &str) -> Option<String> {
    let found = lookup.read(path, 100).unwrap();
    found.map(|(bytes, whole)| {
        assert!(whole);
        String::from_utf8(bytes).unwrap()
    })
}

fn bind(source: &Path, destination: &str) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_destination(destination.into());
    mount
}

/// Whatever layers do to each other, a file is found here if and only if the kernel shows it, and it is the same one.
#[test]
fn layers_are_merged_as_the_kernel_merges_them() {
    let stack = Stack::new(4);
    for name in [
        "plain",
        "gone",
        "replaced",
        "d/low",
        "d/both",
        "opaque/low",
        "filed/x",
        "linked/x",
    ] {
        stack.file(0, name);
    }
    for name in [
        "replaced",
        "d/both",
        "d/mid",
        "opaque/mid",
        "real/x",
        "real/sub/y",
        "deep/er/x",
    ] {
        stack.file(1, name);
    }
    stack.node(1, "gone", 0);
    stack.node(1, "absent", 0);
    stack.opaque(2, "opaque");
    stack.file(2, "opaque/high");
    stack.file(2, "filed");
    stack.link(2, "linked", "real");
    stack.node(2, "real/sub/y", 0);
    stack.node(2, "deep", 0);
    stack.file(3, "deep/other");
    stack.file(3, "empty");
    fs::write(stack.path(3, "empty"), "").unwrap();
    for (name, target) in [
        ("a", "/plain"),
        ("b", "../../../plain"),
        ("c", "d/../linked/./x"),
        ("e/up", "../../d/low"),
        ("f", "f"),
        ("g", "/a"),
        ("h", "/gone"),
        ("i", "opaque/low"),
        ("j", "/deep/er/x"),
        ("k", "linked/sub/y"),
        ("l", "/"),
        ("m", "plain/"),
        ("n", "plain/x"),
    ] {
        stack.link(3, name, target);
    }
    let merged = stack.kernels();
    let names = "plain gone absent replaced d/low d/both d/mid d opaque/low opaque/mid opaque/high filed filed/x linked/x \
                 linked/sub/y real/x real/sub/y deep/er/x deep/other empty a b c e/up f g h i j k l l/plain n missing d/../plain \
                 e/up/x ../plain ./a";
    for name in names.split_ascii_whitespace() {
        let path = format!("/{name}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let seen = openat2(
            merged.as_fd(),
            path.as_str(),
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        );
        let seen = seen.ok().and_then(|file| {
            let mut text = String::new();
            fs::File::from(file)
                .read_to_string(&mut text)
                .ok()
                .map(|_| text)
        });
        assert_eq!(stack.read(&path, &[]), seen, "{path}");
    }
    assert_eq!(stack.read("/a", &[]).as_deref(), Some("0 plain"));
    assert_eq!(stack.read("/c", &[]).as_deref(), Some("1 real/x"));
}

#[test]
fn only_regular_files_are_opened() {
    let stack = Stack::new(2);
    // Opening this one makes a terminal.
    stack.node(1, "device", makedev(5, 2));
    mknodat(CWD, stack.path(1, "pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::create_dir(stack.path(1, "directory")).unwrap();
    let _listens = UnixListener::bind(stack.path(1, "socket")).unwrap();
    for layer in 0..2 {
        let end = stack.path(layer, "end");
        fs::write(&end, format!("{layer}")).unwrap();
    }
    let terminals = || fs::read_dir("/dev/pts").unwrap().count();
    let before = terminals();
    for name in ["device", "pipe", "directory", "socket"] {
        stack.link(0, &format!("to-{name}"), &format!("/{name}"));
        assert_eq!(stack.read(&format!("/{name}"), &[]), None, "{name}");
        assert_eq!(stack.read(&format!("/to-{name}"), &[]), None, "{name}");
        let root = fs::File::open(&stack.1[1]).unwrap();
        assert_eq!(
            text(Lookup::in_root(root.into(), &[]), &format!("/{name}")),
            None
        );
    }
    assert_eq!(before, terminals());
    assert_eq!(stack.read("/end", &[]).as_deref(), Some("1"));
}

#[test]
fn what_is_too_long_is_cut_off() {
    let stack = Stack::new(1);
    let huge = fs::File::create(stack.path(0, "huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    let (bytes, whole) = Lookup::in_layers(&stack.layers(), &[])
        .read("/huge", 10)
        .unwrap()
        .unwrap();
    assert_eq!((bytes, whole), (vec![0; 10], false));
    let (bytes, whole) = Lookup::in_layers(&Layers::default(), &[bind(&stack.1[0], "/v")])
        .read("/v/huge", 3)
        .unwrap()
        .unwrap();
    assert_eq!((bytes.len(), whole), (3, false));
}

/// Links of thousands of names, one behind the other, are followed for no longer than a moment.
#[test]
fn long_ways_end() {
    let stack = Stack::new(1);
    let long = "x/../".repeat(800);
    fs::create_dir(stack.path(0, "x")).unwrap();
    for number in 0..30 {
        stack.link(0, &format!("l{number}"), &format!("{long}l{}", number + 1));
    }
    stack.file(0, "l30");
    assert_eq!(stack.read("/l0", &[]), None);
    assert_eq!(stack.read("/l30", &[]).as_deref(), Some("0 l30"));
}

#[test]
fn volumes_lie_over_the_layers() {
    let stack = Stack::new(2);
    for name in ["etc/passwd", "etc/group", "data/x"] {
        stack.file(0, name);
    }
    stack.link(1, "place", "/etc");
    stack.link(1, "to-data", "/data/passwd");
    stack.link(1, "out", "/etc/up");
    let host = tempfile::tempdir().unwrap();
    let on_host = |name: &str| host.path().join(name);
    fs::create_dir(on_host("dir")).unwrap();
    for name in ["file", "dir/passwd", "secret"] {
        fs::write(on_host(name), format!("host {name}")).unwrap();
    }
    symlink("/group", on_host("dir/group")).unwrap();
    symlink("../../secret", on_host("dir/up")).unwrap();
    symlink(on_host("file"), on_host("linked")).unwrap();
    let read = |mounts: &[Mount], path: &str| stack.read(path, mounts);
    let is = |mounts: &[Mount], path: &str, expected: Option<&str>| {
        assert_eq!(read(mounts, path).as_deref(), expected, "{path}");
    };
    let file = [bind(&on_host("file"), "/etc/passwd")];
    is(&file, "/etc/passwd", Some("host file"));
    is(&file, "/etc/group", Some("0 etc/group"));
    is(
        &[bind(&on_host("linked"), "/etc/passwd")],
        "/etc/passwd",
        Some("host file"),
    );
    is(
        &[bind(&on_host("missing"), "/etc/passwd")],
        "/etc/passwd",
        None,
    );
    is(
        &[bind(Path::new("hosts"), "/etc/passwd")],
        "/etc/passwd",
        None,
    );
    // By a link of the image, and where the image has nothing.
    is(
        &[bind(&on_host("file"), "/place/passwd")],
        "/etc/passwd",
        Some("host file"),
    );
    is(
        &[bind(&on_host("file"), "/new/place/f")],
        "/new/place/f",
        Some("host file"),
    );
    let directory = [
        bind(&on_host("dir"), "/etc"),
        bind(&on_host("dir"), "/data"),
    ];
    is(&directory, "/etc/passwd", Some("host dir/passwd"));
    is(&directory, "/to-data", Some("host dir/passwd"));
    // Links of a volume lead to places of the container, and out of nothing.
    is(&directory, "/etc/group", None);
    is(&directory, "/etc/up", None);
    is(&directory, "/out", None);
    // The last one counts, and a volume in a volume.
    is(
        &[directory[0].clone(), file[0].clone()],
        "/etc/passwd",
        Some("host file"),
    );
    is(
        &[file[0].clone(), directory[0].clone()],
        "/etc/passwd",
        Some("host dir/passwd"),
    );
}

#[test]
fn other_file_systems_hide_the_layers() {
    let stack = Stack::new(2);
    for name in ["etc/passwd", "etc/group", "proc/x"] {
        stack.file(0, name);
    }
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "host file").unwrap();
    let file = bind(&host.path().join("file"), "/etc/passwd");
    let is = |mounts: &[Mount], path: &str, expected: Option<&str>| {
        assert_eq!(stack.read(path, mounts).as_deref(), expected, "{path}");
    };
    // A tmpfs is empty, but for what is mounted in it.
    let mut tmpfs = bind(Path::new("tmpfs"), "/etc");
    tmpfs.set_typ(Some("tmpfs".to_owned()));
    // Alone: with no volume beside it.
    stack.file(1, "run/x");
    let mut other = tmpfs.clone();
    other.set_destination("/run".into());
    is(&[other], "/run/x", None);
    is(std::slice::from_ref(&tmpfs), "/etc/group", None);
    is(
        &[tmpfs.clone(), file.clone()],
        "/etc/passwd",
        Some("host file"),
    );
    is(&[file.clone(), tmpfs], "/etc/passwd", None);
    // Other file systems hold nothing that is read.
    let mut proc = bind(Path::new("proc"), "/proc");
    proc.set_typ(Some("proc".to_owned()));
    is(&[proc.clone(), file.clone()], "/proc/x", None);
    stack.link(1, "to-proc", "proc/self/environ");
    is(&[proc, file.clone()], "/to-proc", None);
}

/// Below a running container's root nothing of another file system is read but volumes.
#[test]
fn a_root_is_not_left() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("f"), "host").unwrap();
    let stack = Stack::new(1);
    stack.file(0, "etc/passwd");
    stack.link(0, "up", "../../../etc/passwd");
    stack.link(0, "out", host.path().join("f").to_str().unwrap());
    let root = || OwnedFd::from(fs::File::open(&stack.1[0]).unwrap());
    let read = |path: &str| text(Lookup::in_root(root(), &[]), path);
    assert_eq!(read("/up").as_deref(), Some("0 etc/passwd"));
    assert_eq!(read("/out"), None);
    // The host's own root, with its mounts.
    let own = || OwnedFd::from(fs::File::open("/").unwrap());
    for path in ["/proc/self/status", "/proc/self/exe", "/sys/kernel/notes"] {
        assert_eq!(text(Lookup::in_root(own(), &[]), path), None, "{path}");
    }
    let mounts = [bind(&host.path().join("f"), "/proc/f")];
    assert_eq!(
        text(Lookup::in_root(own(), &mounts), "/proc/f").as_deref(),
        Some("host")
    );
}
