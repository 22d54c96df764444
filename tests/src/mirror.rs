//! The mirror tree that tests pull from: the real one if it exists, else a small one made of Debian's busybox.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256, Sha512};

/// A directory with the layout of `https://dl-cdn.alpinelinux.org/alpine`.
#[derive(Debug)]
pub struct Mirror {
    dir: PathBuf,
    real: bool,
}

impl Mirror {
    /// The mirror of this test process: `BOX_TEST_MIRROR`, `../shared/mirror/alpine` beside the checkout, or a generated one.
    /// Prints once on stderr which one it uses.
    pub fn get() -> &'static Mirror {
        static MIRROR: OnceLock<Mirror> = OnceLock::new();
        MIRROR.get_or_init(|| {
            let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/mirror/alpine");
            let dir = match std::env::var_os("BOX_TEST_MIRROR") {
                Some(dir) => Some(PathBuf::from(dir)),
                None if beside.is_dir() => Some(beside),
                None => None,
            };
            let mirror = match dir {
                Some(dir) => Mirror {
                    dir: dir
                        .canonicalize()
                        .unwrap_or_else(|error| panic!("mirror {}: {error}", dir.display())),
                    real: true,
                },
                None => Mirror {
                    dir: make(),
                    real: false,
                },
            };
            let kind = if mirror.real {
                "real"
            } else {
                "made from Debian's busybox"
            };
            // Straight to stderr: it is to be seen where output is captured, too.
            writeln!(
                std::io::stderr(),
                "mirror: {} ({kind})",
                mirror.dir.display()
            )
            .ok();
            mirror
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory as a `file://` URL.
    pub fn url(&self) -> String {
        format!("file://{}", self.dir.display())
    }

    /// Whether it holds the real Alpine minirootfs.
    pub fn is_real(&self) -> bool {
        self.real
    }

    /// The minirootfs of a version for this machine, such as `3.20.3`.
    pub fn tarball(&self, version: &str) -> PathBuf {
        let arch = std::env::consts::ARCH;
        self.releases(version)
            .join(format!("alpine-minirootfs-{version}-{arch}.tar.gz"))
    }

    /// The directory of a version's release list and tarballs for this machine.
    pub fn releases(&self, version: &str) -> PathBuf {
        self.dir.join(releases(version))
    }

    /// A copy that a test may change.
    pub fn copy_to(&self, dir: &Path) -> Mirror {
        let dir = dir.join("mirror");
        let done = Command::new("cp")
            .args(["-r", "--no-preserve=mode"])
            .arg(&self.dir)
            .arg(&dir)
            .status()
            .expect("cp is there");
        assert!(done.success(), "copy the mirror: {done}");
        Mirror {
            dir,
            real: self.real,
        }
    }
}

/// `v3.20/releases/x86_64` for `3.20.3`.
fn releases(version: &str) -> String {
    let branch = version.rsplit_once('.').expect("a version has a dot").0;
    format!("v{branch}/releases/{}", std::env::consts::ARCH)
}

/// Creates a tree with the two releases of the real one. Test processes may do this at the same time: each creates
/// its own and the first one to rename it wins.
fn make() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let done = std::env::temp_dir().join(format!("box-test-mirror-archs-{user}"));
    if done.is_dir() {
        return done;
    }
    let work = tempfile::tempdir().expect("the temporary directory is writable");
    for version in ["3.20.3", "3.18.9"] {
        for arch in ["aarch64", "x86_64", std::env::consts::ARCH] {
            release(work.path(), version, arch);
        }
    }
    fs::write(work.path().join("latest-stable"), "v3.20").expect("write latest-stable");
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755))
        .expect("make the mirror readable");
    let made = work.keep();
    if fs::rename(&made, &done).is_err() {
        fs::remove_dir_all(&made).expect("remove a second copy");
    }
    done
}

/// A release for an architecture. Its programs are always for this machine.
fn release(mirror: &Path, version: &str, arch: &str) {
    let dir = mirror.join(releases(version).replace(std::env::consts::ARCH, arch));
    fs::create_dir_all(&dir).expect("make the release directory");
    let name = format!("alpine-minirootfs-{version}-{arch}.tar.gz");
    let bytes = rootfs(version);
    let (sha256, sha512) = (hex(&Sha256::digest(&bytes)), hex(&Sha512::digest(&bytes)));
    fs::write(
        dir.join(format!("{name}.sha256")),
        format!("{sha256}  {name}\n"),
    )
    .expect("write .sha256");
    fs::write(
        dir.join(format!("{name}.sha512")),
        format!("{sha512}  {name}\n"),
    )
    .expect("write .sha512");
    let branch = version.rsplit_once('.').expect("a version has a dot").0;
    let list = format!(
        "---\n-\n  title: \"Virtual\"\n  branch: v{branch}\n  arch: {arch}\n  version: {version}\n  flavor: alpine-virt\n  \
         file: alpine-virt-{version}-{arch}.iso\n  size: 1\n  sha256: {zero}\n  sha512: {zero}{zero}\n-\n  \
         title: \"Mini root filesystem\"\n  desc: \"Minimal root filesystem.\n    For use in containers\n    and minimal \
         chroots.\"\n  branch: v{branch}\n  arch: {arch}\n  version: {version}\n  flavor: alpine-minirootfs\n  \
         file: {name}\n  iso: {name}\n  date: 2024-09-06\n  time: 11:34:16\n  size: {size}\n  sha256: {sha256}\n  \
         sha512: {sha512}\n",
        zero = "0".repeat(64),
        size = bytes.len(),
    );
    fs::write(dir.join("latest-releases.yaml"), list).expect("write the release list");
    fs::write(dir.join(&name), bytes).expect("write the tarball");
}

/// A root filesystem with the commands that the tests use: busybox under all its names.
fn rootfs(version: &str) -> Vec<u8> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find_map(|path| fs::read(path).ok())
        .expect("no mirror tree and no busybox: install Debian's busybox-static, or set BOX_TEST_MIRROR");
    let gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for dir in [
        "bin", "dev", "etc", "home", "proc", "root", "run", "sbin", "sys", "usr", "usr/bin", "var",
    ] {
        entry(&mut tar, tar::EntryType::Directory, dir, 0o755, b"");
    }
    entry(&mut tar, tar::EntryType::Directory, "tmp", 0o1777, b"");
    entry(
        &mut tar,
        tar::EntryType::Regular,
        "bin/busybox",
        0o755,
        &busybox,
    );
    let applets = Command::new("busybox")
        .arg("--list")
        .output()
        .expect("busybox is there")
        .stdout;
    for applet in String::from_utf8_lossy(&applets)
        .lines()
        .filter(|name| *name != "busybox")
    {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "/bin/busybox")
            .expect("add a link");
    }
    let files: [(&str, String); 6] = [
        ("etc/alpine-release", format!("{version}\n")),
        (
            "etc/os-release",
            format!("NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID={version}\n"),
        ),
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nguest:x:405:100:guest:/dev/null:/sbin/nologin\n"
                .to_owned(),
        ),
        ("etc/group", "root:x:0:root\nusers:x:100:games\n".to_owned()),
        ("etc/hosts", "127.0.0.1\tlocalhost\n".to_owned()),
        (
            "etc/profile",
            "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n".to_owned(),
        ),
    ];
    for (path, text) in &files {
        entry(
            &mut tar,
            tar::EntryType::Regular,
            path,
            0o644,
            text.as_bytes(),
        );
    }
    let gzip = tar.into_inner().expect("end the archive");
    gzip.finish().expect("end the compression")
}

fn entry(
    tar: &mut tar::Builder<GzEncoder<Vec<u8>>>,
    kind: tar::EntryType,
    path: &str,
    mode: u32,
    bytes: &[u8],
) {
    let mut header = header(kind, mode, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
        .expect("add an entry");
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_725_622_456);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
