//! What must hold of any bytes at all. Used by the fuzz targets here, and by the short run among box-unpack's tests.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use box_unpack::entry::{EntryPath, Kind};
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
        for xattr in &entry.metadata.xattrs {
            let overlay = xattr.name.windows(8).any(|part| part == b"overlay.");
            assert!(!xattr.name.contains(&0) && (!overlay || !xattr.name.starts_with(b"trusted.")));
        }
        match &entry.kind {
            Kind::File { size, sparse } => {
                assert!(*size <= limits.bytes);
                let end = sparse
                    .iter()
                    .flat_map(|map| map.segments())
                    .map(|s| s.offset + s.length)
                    .max();
                assert!(end.unwrap_or(0) <= *size);
            }
            Kind::HardLink { target } => check_path(target, &limits),
            Kind::Symlink { target } => assert!(!target.is_empty() && !target.contains(&0)),
            Kind::Device { major, minor, .. } => assert!(*major <= 0xfff && *minor <= 0xf_ffff),
            Kind::Directory | Kind::Fifo => {}
        }
        // Half of the content is taken, the rest is to be skipped.
        let taken = archive
            .content()
            .map_or(0, |content| content.len().div_ceil(2));
        archive.consume(taken);
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
