//! What must hold of any bytes at all. Used by the fuzz targets here, and by the short run among box-unpack's tests.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use box_unpack::entry::{EntryKind, EntryPath, Xattr};
use box_unpack::{Archive, Buffers, Decoder, LayerStore, Limits, unpack_archive};

/// Limits that keep one run short.
pub fn limits() -> Limits {
    let mut limits = Limits::default();
    for setting in [
        "bytes=1M",
        "entries=200",
        "header=16K",
        "window=1M",
        "ratio=1000",
    ] {
        limits.set(setting.parse().expect("these settings are well-formed"));
    }
    limits
}

/// Headers, extended headers, names and maps: nothing panics, and what is let through is what it says to be.
pub fn entries(data: &[u8]) {
    let limits = limits();
    let mut archive = Archive::new(data, limits.clone());
    while let Ok(Some(entry)) = archive.next_entry() {
        check_path(&entry.path, &limits);
        assert!(entry.metadata.mode <= 0o7777);
        assert!(entry.metadata.uid != u32::MAX && entry.metadata.gid != u32::MAX);
        assert!(entry.metadata.mtime.nanos < 1_000_000_000);
        check_xattrs(&entry.metadata.xattrs);
        match &entry.kind {
            EntryKind::File { size, sparse } => {
                assert!(*size <= limits.bytes);
                let end = sparse
                    .iter()
                    .flat_map(|map| map.segments())
                    .map(|s| s.offset + s.length)
                    .max();
                assert!(end.unwrap_or(0) <= *size);
            }
            EntryKind::HardLink { target } => check_path(target, &limits),
            EntryKind::Symlink { target } => assert!(!target.is_empty() && !target.contains(&0)),
            EntryKind::Device { major, minor, .. } => {
                assert!(*major <= 0xfff && *minor <= 0xf_ffff)
            }
            EntryKind::Directory | EntryKind::Fifo => {}
        }
        // Half of the content is taken, the rest is to be skipped.
        let taken = archive
            .content()
            .map_or(0, |content| content.len().div_ceil(2));
        archive.consume(taken);
    }
}

/// The records of an extended header: `data` is cut into well-formed ones at each byte 0xff, of which the first byte chooses the key. What
/// is let through is what the kernel takes, and steers no overlay, however it was spelled.
pub fn records(data: &[u8]) {
    const KEYS: [&[u8]; 8] = [
        b"SCHILY.xattr.",
        b"LIBARCHIVE.xattr.",
        b"SCHILY.xattr.user.overlay.",
        b"LIBARCHIVE.xattr.trusted.overlay.",
        b"SCHILY.acl.access=",
        b"mtime=",
        b"path=",
        b"",
    ];
    let mut text = Vec::new();
    for piece in data.split(|&b| b == 0xff) {
        let Some((first, rest)) = piece.split_first() else {
            continue;
        };
        let record = [b" ", KEYS[usize::from(*first) % KEYS.len()], rest, b"\n"].concat();
        let digits = (1..8).find(|digits| (record.len() + digits).to_string().len() == *digits);
        let Some(digits) = digits else { return };
        text.extend_from_slice((record.len() + digits).to_string().as_bytes());
        text.extend_from_slice(&record);
    }
    for kind in [b'x', b'g'] {
        let mut archive = header(kind, text.len());
        archive.extend_from_slice(&text);
        archive.resize(archive.len().next_multiple_of(512), 0);
        archive.extend(header(b'0', 0));
        mend_checksums(&mut archive);
        entries(&archive);
        ends(&archive);
    }
}

fn header(kind: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[0] = b'x';
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = kind;
    block
}

fn check_xattrs(xattrs: &[Xattr]) {
    for (number, xattr) in xattrs.iter().enumerate() {
        let name = &xattr.name[..];
        assert!(!name.is_empty() && name.len() <= 255 && !name.contains(&0));
        let taken = name == b"security.capability" || name.starts_with(b"system.posix_acl_");
        assert!(taken || name.starts_with(b"user."), "{xattr:?}");
        for prefix in [
            "user.overlay.",
            "user.fuseoverlayfs.",
            "user.containers.override_",
        ] {
            assert!(!name.starts_with(prefix.as_bytes()), "{xattr:?}");
        }
        let twice = xattrs[..number].iter().any(|other| other.name == name);
        assert!(!twice, "{xattr:?} is there twice");
    }
}

/// An archive is complete where an entry ends, and nowhere else.
pub fn ends(data: &[u8]) {
    // Where each of the first entries ends, as far as it can be told from here.
    let mut archive = Archive::new(data, limits());
    let mut found = Vec::new();
    while let (Ok(Some(entry)), 0..4) = (archive.next_entry(), found.len()) {
        let sparse = matches!(
            &entry.kind,
            EntryKind::File {
                sparse: Some(_),
                ..
            }
        );
        let end = archive.position().offset + 512 + entry.stored.next_multiple_of(512);
        match usize::try_from(end) {
            Ok(end) if !sparse && end <= data.len() => found.push(end),
            _ => break,
        }
    }
    for (number, &end) in found.iter().enumerate() {
        assert_eq!(count(&data[..end]), Some(number + 1), "cut at {end}");
        assert_eq!(count(&data[..end - 1]), None, "cut at {}", end - 1);
    }
}

/// How many entries an archive has; none where it is damaged.
fn count(data: &[u8]) -> Option<usize> {
    let mut archive = Archive::new(data, limits());
    let mut count = 0;
    loop {
        match archive.next_entry() {
            Ok(Some(_)) => count += 1,
            Ok(None) => return Some(count),
            Err(_) => return None,
        }
    }
}

fn check_path(path: &EntryPath, limits: &Limits) {
    let bytes = path.as_bytes();
    assert!(bytes.len() as u64 <= limits.path && !bytes.contains(&0) && !bytes.starts_with(b"/"));
    for component in bytes.split(|&b| b == b'/').filter(|_| !path.is_root()) {
        assert!(!matches!(component, b"" | b"." | b".."), "{path:?}");
        assert!(component.len() <= 255);
    }
}

/// Decoders: nothing panics, and pieces of any size give the same as the whole.
pub fn decoded(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    let pieces = decode(data, 7);
    if let (Some(whole), Some(pieces)) = (whole, pieces) {
        assert!(
            whole == pieces,
            "pieces decode to something else than the whole"
        );
    }
}

struct Collected {
    room: Vec<u8>,
    bytes: Vec<u8>,
}

impl Buffers for Collected {
    fn spare(&mut self) -> &mut [u8] {
        &mut self.room
    }

    fn filled(&mut self, count: usize) {
        self.bytes.extend_from_slice(&self.room[..count]);
    }
}

fn decode(data: &[u8], piece: usize) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(limits());
    let mut collected = Collected {
        room: vec![0; 4096],
        bytes: Vec::new(),
    };
    for piece in data.chunks(piece) {
        decoder.write(piece, &mut collected).ok()?;
    }
    decoder.finish(&mut collected).ok()?;
    Some(collected.bytes)
}

/// A place to unpack whole archives in, with things around it that must stay as they are.
pub struct Scratch {
    dir: tempfile::TempDir,
    before: Vec<String>,
}

impl Scratch {
    /// A new one, below the directory for temporary files.
    pub fn new() -> Scratch {
        let dir = tempfile::tempdir().expect("there is room for temporary files");
        let outside = dir.path().join("outside");
        fs::create_dir_all(outside.join("directory")).expect("the scratch directory is ours");
        fs::write(outside.join("secret"), "secret").expect("the scratch directory is ours");
        fs::set_permissions(outside.join("secret"), fs::Permissions::from_mode(0o600))
            .expect("it was just made");
        symlink("secret", outside.join("link")).expect("the scratch directory is ours");
        let before = look(&outside);
        Scratch { dir, before }
    }

    /// Unpacks to a plain directory and to a layer. Whatever comes of it, nothing outside changes, and after a failure
    /// nothing is left.
    pub fn archive(&self, data: &[u8]) {
        let base = self.dir.path();
        let target = base.join("target");
        let plain = unpack_archive(data, &target, &limits());
        assert_eq!(plain.is_ok(), target.exists(), "{plain:?}");
        remove(&target);
        let layers = base.join("layers");
        let store = LayerStore::open(&layers);
        let published = store.writer(limits()).and_then(|mut writer| {
            writer.push(data)?;
            writer.finish()?.publish()
        });
        let found = store.list().expect("the store is ours");
        assert_eq!(published.is_ok(), !found.is_empty(), "{published:?}");
        for layer in &found {
            store.remove(layer).expect("a layer can be removed");
        }
        let left = fs::read_dir(layers.join(".staging"))
            .expect("the store was used")
            .count();
        assert_eq!(left, 0, "unfinished trees are left behind");
        assert_eq!(
            look(&base.join("outside")),
            self.before,
            "something outside changed"
        );
        let names: Vec<_> = fs::read_dir(base)
            .expect("it is ours")
            .map(|entry| entry.map(|e| e.file_name()))
            .collect();
        assert_eq!(names.len(), 2, "something was made outside: {names:?}");
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

fn remove(target: &Path) {
    match fs::remove_dir_all(target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            panic!("{}: {error}", target.display())
        }
        _ => {}
    }
}

fn look(outside: &Path) -> Vec<String> {
    let paths: [PathBuf; 4] = ["", "directory", "link", "secret"].map(|name| outside.join(name));
    let mut lines: Vec<String> = paths
        .iter()
        .map(|path| {
            let meta = fs::symlink_metadata(path).expect("what was there is there");
            let (mode, owner, links) = (meta.mode(), (meta.uid(), meta.gid()), meta.nlink());
            format!(
                "{path:?} {mode:o} {owner:?} {links} {} {}",
                meta.mtime(),
                meta.mtime_nsec()
            )
        })
        .collect();
    lines.push(fs::read_to_string(outside.join("secret")).expect("what was there is there"));
    let count = fs::read_dir(outside)
        .expect("what was there is there")
        .count();
    lines.push(count.to_string());
    lines
}

/// Makes the checksums of what look like headers right, so that changed bytes get past that first gate.
pub fn mend_checksums(data: &mut [u8]) {
    let mut at = 0;
    while at + 512 <= data.len() {
        let block = &mut data[at..at + 512];
        at += 512;
        if block.iter().all(|&b| b == 0) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&block[124..135])
            .ok()
            .and_then(|text| usize::from_str_radix(text.trim(), 8).ok());
        let header_only = matches!(block[156], b'1'..=b'6');
        if let (Some(size), false) = (size, header_only) {
            at = at.saturating_add(size.div_ceil(512).saturating_mul(512));
        }
    }
}
