//! Images as files: what box saves other tools read, what they save box loads, and what is wrong changes nothing.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use box_cache::{
    Arch, Cache, Image, LoadOptions, NoProgress, Platform, Reference, Result, Verified,
};
use fixture::{commit, find, plain_digest, publish, succeed, tarball};

/// A cache that holds the real minirootfs as `alpine:3.20`, for two architectures.
fn alpine(directory: &Path) -> Cache {
    let cache = Cache::open(directory).unwrap();
    for (name, arch) in [("aarch64", Arch::Arm64), ("x86_64", Arch::Amd64)] {
        let mut layer = commit(&cache, &tarball(name));
        layer.diff_id = plain_digest(&cache.layout().blob(&layer.digest));
        publish(&cache, "alpine:3.20", arch.into(), layer, "u");
    }
    cache
}

fn save(cache: &Cache, images: &[Image], file: &Path) {
    let _hold = cache.hold().unwrap();
    cache
        .save(
            images,
            &mut fs::File::create(file).unwrap(),
            file,
            &NoProgress,
        )
        .unwrap();
}

fn load(cache: &Cache, bytes: impl io::Read) -> Result<Vec<Image>> {
    cache.load(bytes, "archive", &LoadOptions::default(), &NoProgress)
}

/// Nothing of a failed load is left.
fn assert_untouched(cache: &Cache) {
    assert!(cache.images().unwrap().is_empty());
    assert_eq!(fs::read_dir(cache.layout().partial()).unwrap().count(), 0);
}

#[test]
fn a_saved_image_is_read_by_others_and_loads_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = alpine(&scratch.path().join("cache"));
    let image = find(&cache, "alpine:3.20").unwrap();
    let (one, again) = (
        scratch.path().join("one.tar"),
        scratch.path().join("again.tar"),
    );
    save(&cache, std::slice::from_ref(&image), &one);
    save(&cache, std::slice::from_ref(&image), &again);
    assert_eq!(
        fs::read(&one).unwrap(),
        fs::read(&again).unwrap(),
        "the same image gave different bytes"
    );
    let inspected = succeed(
        Command::new("skopeo").args(["inspect", &format!("oci-archive:{}", one.display())]),
    );
    assert!(
        inspected.contains(&image.manifest_digest.to_string()),
        "{inspected}"
    );
    let podman = |arguments: &[&str]| {
        let (root, run) = (
            scratch.path().join("podman"),
            scratch.path().join("podman-run"),
        );
        succeed(
            Command::new("podman")
                .args([
                    "--root",
                    root.to_str().unwrap(),
                    "--runroot",
                    run.to_str().unwrap(),
                ])
                .args(["--storage-driver", "vfs"])
                .args(arguments),
        )
    };
    podman(&["load", "--quiet", "--input", one.to_str().unwrap()]);
    assert!(podman(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).contains("alpine:3.20"));

    // Every platform in one file, and into a cache that has nothing.
    let all = scratch.path().join("all.tar");
    save(&cache, &cache.images().unwrap(), &all);
    let other = Cache::open(scratch.path().join("other")).unwrap();
    let loaded = load(&other, fs::File::open(&all).unwrap()).unwrap();
    let mut digests: Vec<_> = loaded.iter().map(|image| image.manifest_digest).collect();
    let mut expected: Vec<_> = cache
        .images()
        .unwrap()
        .iter()
        .map(|image| image.manifest_digest)
        .collect();
    digests.sort();
    expected.sort();
    assert_eq!(digests, expected);
    let found = find(&other, "alpine:3.20").unwrap();
    assert_eq!(found.manifest_digest, image.manifest_digest);
    assert_eq!(
        found.provenance.verified,
        Verified::Unverified,
        "an archive's word was taken"
    );
    assert!(other.audit(&[], &NoProgress).unwrap().damaged.is_empty());
}

#[test]
fn what_skopeo_writes_is_loaded() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = alpine(&scratch.path().join("cache"));
    let from = format!("oci:{}:alpine:3.20", cache.directory().display());
    let original = find(&cache, "alpine:3.20").unwrap();
    for (kind, name) in [
        ("oci-archive", "alpine:3.20"),
        ("docker-archive", "docker.io/library/alpine:3.20"),
        ("docker-archive", ""),
    ] {
        let file = scratch.path().join(format!("{kind}{}.tar", name.len()));
        let separator = if name.is_empty() { "" } else { ":" };
        let to = format!("{kind}:{}{separator}{name}", file.display());
        succeed(Command::new("skopeo").args(["copy", "--quiet", &from, &to]));
        let other = Cache::open(scratch.path().join(format!("{kind}{}", name.len()))).unwrap();
        let mut options = LoadOptions::default();
        if name.is_empty() {
            let error = other
                .load(
                    fs::File::open(&file).unwrap(),
                    "file",
                    &options,
                    &NoProgress,
                )
                .unwrap_err();
            assert!(error.to_string().contains("has no name"), "{error}");
            assert_untouched(&other);
            options.name = Some("alpine:3.20".parse::<Reference>().unwrap());
        }
        let images = other
            .load(
                fs::File::open(&file).unwrap(),
                "file",
                &options,
                &NoProgress,
            )
            .unwrap();
        assert_eq!(images.len(), 1);
        let found = find(&other, "alpine:3.20").unwrap();
        assert_eq!(found.layers[0].diff_id, original.layers[0].diff_id);
        assert_eq!(found.platform, Platform::host());
        assert_eq!(found.config.config(), original.config.config());
        assert!(other.audit(&[], &NoProgress).unwrap().damaged.is_empty());
        let image = format!(
            "oci:{}:{}",
            other.directory().display(),
            images[0].reference
        );
        succeed(Command::new("skopeo").args(["inspect", &image]));
    }
}

#[test]
fn a_cut_or_changed_archive_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path().join("cache")).unwrap();
    let layer = commit(
        &cache,
        &(0..100_000u32)
            .flat_map(u32::to_le_bytes)
            .collect::<Vec<_>>(),
    );
    publish(&cache, "a:1", Platform::host(), layer, "u");
    let file = scratch.path().join("a.tar");
    save(&cache, &cache.images().unwrap(), &file);
    let good = fs::read(&file).unwrap();
    let docker = scratch.path().join("d.tar");
    let from = format!(
        "oci:{}:a:1",
        alpine(&scratch.path().join("alpine")).directory().display()
    );
    let from = from.replace("a:1", "alpine:3.20");
    succeed(Command::new("skopeo").args([
        "copy",
        "--quiet",
        &from,
        &format!("docker-archive:{}:a:1", docker.display()),
    ]));
    let docker = fs::read(docker).unwrap();

    for archive in [&good, &docker] {
        let other = Cache::open(scratch.path().join(format!("other-{}", archive.len()))).unwrap();
        for cut in (0..archive.len() - 1024).step_by(archive.len() / 37) {
            assert!(load(&other, &archive[..cut]).is_err(), "cut at {cut}");
            assert_untouched(&other);
        }
        for at in (0..archive.len() - 1024).step_by(archive.len() / 41) {
            let mut bad = archive.clone();
            bad[at] ^= 0x55;
            // What the archive says of itself and nobody believes may change: then it loads, and is what it was.
            if load(&other, bad.as_slice()).is_ok() {
                assert!(
                    other.audit(&[], &NoProgress).unwrap().damaged.is_empty(),
                    "byte {at}"
                );
                other.remove(&"a:1".parse().unwrap(), None).unwrap();
            }
            assert_untouched(&other);
        }
        load(&other, archive.as_slice()).unwrap();
    }
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn nonsense_is_refused_in_words() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let image = |digest: &str| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "digest":"{digest}","size":2,"annotations":{{"org.opencontainers.image.ref.name":"a:1"}}}}]}}"#
        )
    };
    let missing = image("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    let outside = image("sha256:../../../../etc/passwd");
    let braces = "blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    for (members, expected) in [
        (vec![], "neither index.json nor manifest.json"),
        (
            vec![("hello", &b"x"[..])],
            "neither index.json nor manifest.json",
        ),
        (vec![("index.json", b"junk")], "malformed index.json"),
        (
            vec![("index.json", b"{\"schemaVersion\":2,\"manifests\":[]}")],
            "no image",
        ),
        (vec![("index.json", missing.as_bytes())], "is missing"),
        (
            vec![("index.json", missing.as_bytes()), (braces, b"[]")],
            "digest mismatch",
        ),
        (
            vec![("index.json", missing.as_bytes()), (braces, b"{}")],
            "malformed manifest",
        ),
        (vec![("index.json", outside.as_bytes())], "invalid digest"),
        (vec![("manifest.json", b"[]")], "no image"),
        (
            vec![(
                "manifest.json",
                br#"[{"Config":"../../x","RepoTags":["a:1"],"Layers":[]}]"#,
            )],
            "points outside",
        ),
        (
            vec![(
                "manifest.json",
                br#"[{"Config":"c","RepoTags":["A b"],"Layers":[]}]"#,
            )],
            "invalid reference",
        ),
        (
            vec![(
                "manifest.json",
                br#"[{"Config":"c","RepoTags":["a:1"],"Layers":[]}]"#,
            )],
            "c is missing",
        ),
        (
            vec![
                (
                    "manifest.json",
                    br#"[{"Config":"c","RepoTags":["a:1"],"Layers":["l"]}]"#,
                ),
                ("c", br#"{"rootfs":{"diff_ids":[]}}"#),
            ],
            "names 0 layers",
        ),
    ] {
        let error = load(&cache, tar(&members).as_slice())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected),
            "expected {expected:?}, got {error:?}"
        );
        assert_untouched(&cache);
    }
}

#[test]
fn links_between_layers_are_followed_but_not_in_circles() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let layer = tar(&[("file", b"hello")]);
    let diff_id = box_cache::Digest::of(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}","{diff_id}"]}}}}"#
    );
    let manifest =
        br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["1/layer.tar","2/layer.tar"]}]"#;
    let archive = |target: &str| {
        let mut builder = tar::Builder::new(tar(&[
            ("manifest.json", manifest),
            ("c.json", config.as_bytes()),
        ]));
        let end = builder.get_ref().len() - 1024;
        builder.get_mut().truncate(end);
        let mut header = tar::Header::new_gnu();
        header.set_size(layer.len() as u64);
        builder
            .append_data(&mut header, "1/layer.tar", layer.as_slice())
            .unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder
            .append_link(&mut header, "2/layer.tar", target)
            .unwrap();
        builder.into_inner().unwrap()
    };
    let error = load(&cache, archive("../2/layer.tar").as_slice())
        .unwrap_err()
        .to_string();
    assert!(error.contains("link to itself"), "{error}");
    assert!(load(&cache, archive("../../1/layer.tar").as_slice()).is_err());
    let images = load(&cache, archive("../1/layer.tar").as_slice()).unwrap();
    assert_eq!(images[0].layers.len(), 2);
    assert_eq!(images[0].layers[0], images[0].layers[1]);
}

#[test]
fn blobs_named_by_other_digests_than_sha256_are_refused_in_words() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let name = "ab".repeat(64);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "digest":"sha512:{name}","size":2,"annotations":{{"org.opencontainers.image.ref.name":"a:1"}}}}]}}"#
    );
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in [
        (format!("blobs/sha512/{name}"), "{}"),
        ("index.json".to_owned(), index.as_str()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, path, bytes.as_bytes())
            .unwrap();
    }
    let error = load(&cache, tar.into_inner().unwrap().as_slice()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("stores blobs by sha256 digests only"),
        "{text}"
    );
    assert_untouched(&cache);
}
