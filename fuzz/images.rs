//! What must hold of names and of image archives, whatever bytes they are. Used by the fuzz targets here, and by the short run
//! among box-cache's tests.

use std::path::Path;

use box_cache::{Cache, Digest, LoadOptions, NoProgress, Platform, Reference, Verified};

/// A name that is taken has one form, which leads back to it, and so does what other tools call it.
pub fn references(text: &str) {
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(
            platform.to_string().parse::<Platform>().ok(),
            Some(platform)
        );
    }
    let Ok(reference) = text.parse::<Reference>() else {
        return;
    };
    let again = |text: String| {
        text.parse::<Reference>()
            .expect("a name in its own form is a name")
    };
    assert_eq!(again(reference.key()), reference);
    if reference.name().len() < 200 {
        assert_eq!(again(reference.in_full()), reference.as_docker_means());
    }
    assert!(reference.key().bytes().all(|byte| byte.is_ascii_graphic()));
}

/// An archive of whatever bytes is loaded or refused; what was loaded is what its name and its digests say, nobody vouches for
/// it, and nothing but the cache was written to.
pub fn load(archive: &[u8], directory: &Path) {
    let cache = Cache::open(directory).expect("the directory is writable");
    let options = LoadOptions::default();
    let Ok(images) = cache.load(archive, "archive", &options, &NoProgress) else {
        return;
    };
    for image in &images {
        assert_eq!(image.provenance.verified, Verified::Unverified);
        if let Some(digest) = image.reference.digest() {
            let only = matches!(image.layers.as_slice(), [layer] if layer.digest == *digest);
            assert!(
                *digest == image.manifest_digest || only,
                "{}",
                image.reference
            );
        }
        let pinned = image.reference.with_digest(image.manifest_digest);
        let found = cache
            .find_exactly(&pinned, &image.platform)
            .expect("what was loaded is sound");
        assert_eq!(
            found.map(|found| found.manifest_digest),
            Some(image.manifest_digest)
        );
    }
    let audit = cache
        .audit(&[], &NoProgress)
        .expect("the cache is readable");
    assert!(audit.damaged.is_empty(), "{:?}", audit.damaged);
}

/// An archive of an image layout, or one of docker's, made of bytes so that its digests are right: the parts between bytes 0xff are
/// its blobs, the last one its index; in each of them the byte N stands for the descriptor's fields of the N-th part before, for N
/// from 1 to 8.
pub fn layout(data: &[u8]) -> Vec<u8> {
    let mut digests: Vec<(Digest, usize)> = Vec::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder
            .append_data(&mut header, name, bytes)
            .expect("a vector takes everything");
    };
    let parts: Vec<&[u8]> = data.split(|byte| *byte == 0xff).take(16).collect();
    for (number, part) in parts.iter().enumerate() {
        let mut bytes = Vec::new();
        for byte in *part {
            match digests.iter().rev().nth(usize::from(byte.wrapping_sub(1))) {
                Some((digest, size)) if *byte <= 8 => {
                    bytes.extend(format!("\"digest\":\"{digest}\",\"size\":{size}").bytes());
                }
                _ => bytes.push(*byte),
            }
        }
        let digest = Digest::of(&bytes);
        if number + 1 < parts.len() {
            digests.push((digest, bytes.len()));
            add(&format!("blobs/sha256/{}", digest.hex()), &bytes);
            add(&format!("{number}"), &bytes);
        } else if bytes.starts_with(b"[") {
            add("manifest.json", &bytes);
        } else {
            add("index.json", &bytes);
        }
    }
    builder.into_inner().expect("a vector takes everything")
}

/// Bytes of which [`layout`] makes an archive with an image in it, and with indexes and an artifact.
pub fn seeds() -> Vec<Vec<u8>> {
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let parts = |last: &str| {
        let diff_id = Digest::of(b"layer");
        let texts = [
            "layer".to_owned(),
            format!("{{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{diff_id}\"]}}}}"),
            format!("{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\x01}},\"layers\":[{{\"mediaType\":\"{layer}\",\x02}}]}}"),
            "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\x01,\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"}}]}".to_owned(),
            last.to_owned(),
        ];
        let bytes: Vec<Vec<u8>> = texts.map(String::into_bytes).into();
        bytes.join(&0xff)
    };
    vec![
        parts(
            "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\x01,\"annotations\":{\"org.opencontainers.image.ref.name\":\"a:1\",\"io.containerd.image.name\":\"docker.io/library/alpine:3.20\"}}]}",
        ),
        parts(
            "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\x02,\"artifactType\":\"x\"},{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\x02,\"annotations\":{\"io.containerd.image.name\":\"docker.io/t/a@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}}]}",
        ),
        parts("[{\"Config\":\"1\",\"RepoTags\":[\"a:1\",\"localhost/b:2\"],\"Layers\":[\"0\"]}]"),
    ]
}
