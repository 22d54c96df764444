//! Layers, made in memory.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::Mirror;

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// A layer: a blob, and what the documents of an image say about it. Tests may make them disagree.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The blob.
    pub blob: Vec<u8>,
    /// The media type in the manifest.
    pub media_type: String,
    /// The digest of the archive without compression, in the config.
    pub diff_id: String,
    /// More members of its descriptor, such as `urls` and `annotations`.
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Layer {
    /// Files with their contents, in an archive packed with gzip.
    pub fn of(files: &[(&str, &[u8])]) -> Self {
        Self::gzip(&archive(files))
    }

    /// The files of the tests' Alpine release: what a container needs to run.
    pub fn alpine() -> Self {
        let tarball = Mirror::get().tarball("3.20.3");
        let blob = std::fs::read(&tarball)
            .unwrap_or_else(|error| panic!("{}: {error}", tarball.display()));
        let mut plain = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(blob.as_slice());
        std::io::Read::read_to_end(&mut decoder, &mut plain).expect("the tarball is sound");
        Self::new(blob, "application/vnd.oci.image.layer.v1.tar+gzip", &plain)
    }

    /// One file `name` of `size` bytes that cannot be compressed. The same `seed` gives the same bytes.
    pub fn random(name: &str, seed: u64, size: usize) -> Self {
        Self::of(&[(name, &noise(seed, size))])
    }

    /// An archive, packed with gzip.
    pub fn gzip(archive: &[u8]) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(archive).expect("memory takes it");
        let blob = encoder.finish().expect("memory takes it");
        Self::new(blob, "application/vnd.oci.image.layer.v1.tar+gzip", archive)
    }

    /// An archive as it is.
    pub fn plain(archive: &[u8]) -> Self {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        Self::new(archive.to_vec(), kind, archive)
    }

    /// An archive, packed with zstd.
    pub fn zstd(archive: &[u8]) -> Self {
        let blob = zstd::encode_all(archive, 3).expect("memory takes it");
        Self::new(blob, "application/vnd.oci.image.layer.v1.tar+zstd", archive)
    }

    /// Any blob, with the archive that it shall unpack to.
    pub fn new(blob: Vec<u8>, media_type: &str, archive: &[u8]) -> Self {
        Self {
            blob,
            media_type: media_type.to_owned(),
            diff_id: digest(archive),
            more: serde_json::Map::new(),
        }
    }

    /// Says another media type.
    pub fn media_type(mut self, media_type: &str) -> Self {
        media_type.clone_into(&mut self.media_type);
        self
    }

    /// Adds a member to its descriptor.
    pub fn with(mut self, name: &str, value: serde_json::Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// The digest of the blob.
    pub fn digest(&self) -> String {
        digest(&self.blob)
    }

    /// The descriptor in the manifest.
    pub fn descriptor(&self) -> serde_json::Value {
        let mut descriptor = serde_json::json!({
            "mediaType": self.media_type,
            "digest": self.digest(),
            "size": self.blob.len(),
        });
        for (name, value) in &self.more {
            descriptor[name] = value.clone();
        }
        descriptor
    }
}

/// A tar archive of files, with the directories above them.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut known = std::collections::BTreeSet::new();
    for (name, content) in files {
        for (at, _) in name.match_indices('/') {
            let directory = &name[..=at];
            if known.insert(directory.to_owned()) {
                let mut header = tar::Header::new_ustar();
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                builder
                    .append_data(&mut header, directory, std::io::empty())
                    .expect("memory takes it");
            }
        }
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder
            .append_data(&mut header, name, *content)
            .expect("memory takes it");
    }
    builder.into_inner().expect("memory takes it")
}

/// Bytes without a pattern (xorshift).
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
