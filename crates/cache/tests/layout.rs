//! The cache as other tools and other processes see it, with the real minirootfs where a real image is needed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use box_cache::{Arch, Cache, Digest, Error, Platform};

mod fixture;

use fixture::{commit, find, plain_digest, publish, succeed, tarball};

#[test]
fn other_tools_read_the_layout_and_get_the_hosts_platform() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path().join("cache")).unwrap();
    // The foreign one first: whoever takes the first entry of a name must get the host's all the same.
    for (name, arch) in [("aarch64", Arch::Arm64), ("x86_64", Arch::Amd64)] {
        let bytes = tarball(name);
        let mut layer = commit(&cache, &bytes);
        layer.diff_id = plain_digest(&cache.layout().blob(&layer.digest));
        publish(&cache, "alpine:3.20", arch.into(), layer, "file:///x");
    }
    let image = format!("{}:alpine:3.20", cache.directory().display());
    let host = Platform::host();
    let foreign = if host.architecture() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };

    let inspected = succeed(Command::new("skopeo").args(["inspect", &format!("oci:{image}")]));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Architecture"], host.architecture());
    let inspected =
        succeed(Command::new("skopeo").args(["inspect", &format!("oci:{image}+{foreign}")]));
    assert!(inspected.contains(foreign), "{inspected}");

    let bundle = scratch.path().join("bundle");
    succeed(
        Command::new("umoci")
            .args(["unpack", "--image", &image])
            .arg(&bundle),
    );
    let busybox = succeed(Command::new("file").arg(bundle.join("rootfs/bin/busybox")));
    let expected = if host.architecture() == "amd64" {
        "x86-64"
    } else {
        "aarch64"
    };
    assert!(busybox.contains(expected), "{busybox}");

    let names: Vec<String> = cache
        .images()
        .unwrap()
        .iter()
        .map(|image| image.platform.to_string())
        .collect();
    assert_eq!(names, ["linux/amd64", "linux/arm64"]);
    for image in cache.images().unwrap() {
        assert_eq!(image.reference.key(), "alpine:3.20");
    }
}

#[test]
fn the_same_tarball_is_the_same_image_everywhere() {
    let digests = ["https://a.example/x", "file:///elsewhere"].map(|url| {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::open(scratch.path()).unwrap();
        let layer = commit(&cache, b"a layer");
        publish(&cache, "alpine:3.20", Arch::Amd64.into(), layer, url).manifest_digest
    });
    assert_eq!(digests[0], digests[1]);
    // A change of this value changes the digest of every image that anybody has pinned.
    assert_eq!(
        digests[0].to_string(),
        "sha256:e01f2da2568783fca662336ffbdb0c5746a38a672feb43a81ca3adbd6c3190d9"
    );
}

#[test]
fn a_found_image_says_what_was_published() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let layer = commit(&cache, b"a layer");
    let published = publish(
        &cache,
        "alpine",
        Platform::host(),
        layer.clone(),
        "https://m.example/x",
    );
    let found = find(&cache, "alpine:latest").unwrap();
    assert_eq!(found.manifest_digest, published.manifest_digest);
    assert_eq!(found.layers, std::slice::from_ref(&layer));
    assert_eq!(found.provenance, published.provenance);
    assert_eq!(found.provenance.url, "https://m.example/x");
    assert_eq!(
        found
            .config
            .config()
            .as_ref()
            .unwrap()
            .cmd()
            .as_ref()
            .unwrap(),
        &["/bin/sh"]
    );
    assert!(find(&cache, "alpine:3.20").is_none());
    assert!(
        cache
            .find(&"alpine".parse().unwrap(), &Arch::S390x.into())
            .unwrap()
            .is_none()
    );
    for digest in [published.manifest_digest, layer.digest] {
        assert_eq!(
            find(&cache, &format!("alpine@{digest}"))
                .unwrap()
                .manifest_digest,
            published.manifest_digest
        );
        assert!(find(&cache, &format!("alpine:3.20@{digest}")).is_some());
        assert!(find(&cache, &format!("debian@{digest}")).is_none());
    }
    assert!(find(&cache, &format!("alpine@{}", Digest::of(b"other"))).is_none());
}

#[test]
fn a_reference_moves_and_is_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let (old, new) = (commit(&cache, b"old"), commit(&cache, b"new"));
    let first = publish(&cache, "alpine:edge", Platform::host(), old, "u");
    publish(
        &cache,
        "alpine:3.20",
        Platform::host(),
        commit(&cache, b"other"),
        "u",
    );
    let pinned = format!("alpine@{}", first.manifest_digest);
    assert!(find(&cache, "alpine:edge").is_some() && find(&cache, &pinned).is_some());
    let second = publish(&cache, "alpine:edge", Platform::host(), new, "u");
    assert_eq!(
        find(&cache, "alpine:edge").unwrap().manifest_digest,
        second.manifest_digest
    );
    // Who pinned it still finds it, under no tag.
    let kept = find(&cache, &pinned).unwrap();
    let digest = first.manifest_digest;
    assert_eq!(
        (kept.manifest_digest, kept.reference.to_string()),
        (digest, format!("alpine:edge@{digest}"))
    );
    cache.remove(&kept.reference, None).unwrap();
    assert!(
        find(&cache, &pinned).is_none(),
        "an answer outlived the index it came from"
    );
    publish(
        &cache,
        "alpine:edge",
        Arch::S390x.into(),
        commit(&cache, b"z"),
        "u",
    );
    assert_eq!(cache.images().unwrap().len(), 3);

    let edge = "alpine:edge".parse().unwrap();
    let removed = cache.remove(&edge, Some(&Platform::host())).unwrap();
    assert_eq!(removed.len(), 1);
    assert!(find(&cache, "alpine:edge").is_none());
    assert!(cache.find(&edge, &Arch::S390x.into()).unwrap().is_some());
    assert_eq!(cache.remove(&edge, None).unwrap().len(), 1);
    assert_eq!(cache.remove(&edge, None).unwrap(), []);
    assert!(find(&cache, "alpine:3.20").is_some());
}

#[test]
fn damage_is_never_given_out() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let image = publish(
        &cache,
        "alpine",
        Platform::host(),
        commit(&cache, b"layer"),
        "u",
    );
    for digest in [image.manifest_digest, image.config_digest] {
        let path = cache.layout().blob(&digest);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[10] ^= 1;
        fs::remove_file(&path).unwrap();
        let reference = "alpine".parse().unwrap();
        assert!(
            cache
                .find(&reference, &Platform::host())
                .unwrap_err()
                .is_damage()
        );
        fs::write(&path, &bad).unwrap();
        let error = cache.find(&reference, &Platform::host()).unwrap_err();
        assert!(
            error.is_damage() && error.to_string().contains("digest mismatch"),
            "{error}"
        );
        let listing = cache.listing().unwrap();
        assert_eq!((listing.images.len(), listing.damaged.len()), (0, 1));
        fs::write(&path, &good).unwrap();
        assert!(find(&cache, "alpine").is_some());
    }
}

#[test]
fn what_other_tools_write_is_read_and_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path().join("cache")).unwrap();
    publish(
        &cache,
        "mine:1",
        Platform::host(),
        commit(&cache, b"layer"),
        "u",
    );
    let source = Cache::open(scratch.path().join("source")).unwrap();
    let mut layer = commit(&source, &tarball("x86_64"));
    layer.diff_id = plain_digest(&source.layout().blob(&layer.digest));
    publish(&source, "alpine:3.20", Arch::Amd64.into(), layer, "u");

    let from = format!("oci:{}:alpine:3.20", source.directory().display());
    for name in ["theirs:2", "bare"] {
        let to = format!("oci:{}:{name}", cache.directory().display());
        succeed(Command::new("skopeo").args(["copy", "--quiet", &from, &to]));
    }
    let amd64 = Arch::Amd64.into();
    assert!(
        cache
            .find(&"theirs:2".parse().unwrap(), &amd64)
            .unwrap()
            .is_some()
    );
    assert!(
        cache
            .find(&"bare:latest".parse().unwrap(), &amd64)
            .unwrap()
            .is_some()
    );

    // Something in the index that box knows nothing of.
    let index = cache.layout().index();
    let mut document: serde_json::Value =
        serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let strange = serde_json::json!({"mediaType": "application/x-strange", "digest": "blake3:00", "size": 1, "new": [1]});
    document["manifests"]
        .as_array_mut()
        .unwrap()
        .push(strange.clone());
    document["subject"] = serde_json::json!({"x": 1});
    fs::write(&index, document.to_string()).unwrap();
    publish(
        &cache,
        "mine:2",
        Platform::host(),
        commit(&cache, b"layer 2"),
        "u",
    );
    let document: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    assert!(document["manifests"].as_array().unwrap().contains(&strange));
    assert_eq!(document["subject"]["x"], 1);
    let names: BTreeMap<String, String> = cache
        .images()
        .unwrap()
        .into_iter()
        .map(|image| (image.reference.key(), image.platform.to_string()))
        .collect();
    assert_eq!(
        names.keys().collect::<Vec<_>>(),
        ["bare:latest", "mine:1", "mine:2", "theirs:2"]
    );
}

#[test]
fn a_missing_directory_is_an_empty_cache_and_stays_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let missing = scratch.path().join("a/b");
    let cache = Cache::open_existing(&missing);
    assert!(find(&cache, "alpine").is_none());
    assert!(cache.images().unwrap().is_empty());
    drop(cache.hold().unwrap());
    assert!(
        cache
            .remove(&"alpine".parse().unwrap(), None)
            .unwrap()
            .is_empty()
    );
    assert!(
        cache
            .audit(&[], &box_cache::NoProgress)
            .unwrap()
            .damaged
            .is_empty()
    );
    assert!(!missing.exists() && !scratch.path().join("a").exists());
}

#[test]
fn a_directory_of_another_kind_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(
        scratch.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"9.0"}"#,
    )
    .unwrap();
    assert!(matches!(
        Cache::open(scratch.path()),
        Err(Error::Layout { .. })
    ));
    fs::write(scratch.path().join("oci-layout"), "junk").unwrap();
    assert!(matches!(
        Cache::open(scratch.path()),
        Err(Error::Layout { .. })
    ));
}

#[test]
fn who_has_published_finds_it_whatever_others_read_meanwhile() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let layers = [commit(&cache, b"even"), commit(&cache, b"odd")];
    publish(&cache, "other:1", Platform::host(), layers[0].clone(), "u");
    publish(&cache, "a:1", Platform::host(), layers[1].clone(), "u");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    // They leave answers behind all the time, for the next reader to believe.
                    assert!(find(&cache, "a:1").is_some() && find(&cache, "other:1").is_some());
                    let pinned = format!("a@{}", layers[0].digest);
                    find(&cache, &pinned);
                }
            });
        }
        scope.spawn(|| {
            for number in 0..50 {
                publish(
                    &cache,
                    &format!("filler:{number}"),
                    Platform::host(),
                    layers[0].clone(),
                    "u",
                );
            }
        });
        for number in 0..50 {
            let published = publish(
                &cache,
                "a:1",
                Platform::host(),
                layers[number % 2].clone(),
                "u",
            );
            let found = find(&cache, "a:1").unwrap();
            assert_eq!(
                found.manifest_digest, published.manifest_digest,
                "publication {number}"
            );
            let pinned = find(&cache, &format!("a@{}", layers[0].digest));
            assert!(pinned.is_some(), "publication {number}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    // Both that `a:1` has meant are kept by their digests, too.
    assert_eq!(cache.images().unwrap().len(), 54);
}

#[test]
fn a_layout_that_another_tool_made_can_be_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let source = Cache::open(scratch.path().join("source")).unwrap();
    let mut layer = commit(&source, &tarball("x86_64"));
    layer.diff_id = plain_digest(&source.layout().blob(&layer.digest));
    publish(&source, "alpine:3.20", Arch::Amd64.into(), layer, "u");
    let from = format!("oci:{}:alpine:3.20", source.directory().display());
    let theirs = scratch.path().join("theirs");
    succeed(Command::new("skopeo").args([
        "copy",
        "--quiet",
        &from,
        &format!("oci:{}:a:1", theirs.display()),
    ]));

    let cache = Cache::open_existing(&theirs);
    assert!(
        cache
            .find(&"a:1".parse().unwrap(), &Arch::Amd64.into())
            .unwrap()
            .is_some()
    );
    assert_eq!(
        cache.remove(&"a:1".parse().unwrap(), None).unwrap().len(),
        1
    );
    let cache = Cache::open(&theirs).unwrap();
    publish(&cache, "b:1", Platform::host(), commit(&cache, b"b"), "u");
    assert!(find(&cache, "b:1").is_some());
}
