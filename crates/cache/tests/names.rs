//! What an archive or an index calls an image: one name for one image, no digest but the content's, and nobody's word for it.
#![allow(clippy::unwrap_used, missing_docs)]

mod archives;
mod fixture;

use std::fs;
use std::path::Path;

use archives::{
    CONTAINERD, LAYER, Layout, REF_NAME, docker, find, keys, load, load_as, named, new, tar, with,
};
use box_cache::{Digest, Error, NoProgress, Platform, Verified};
use serde_json::json;

#[test]
fn a_name_in_an_archive_decides_no_digest() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let good = load_as(&cache, &docker("good", json!(null)), Some("alpine:3.20"))
        .unwrap()
        .remove(0);
    let pinned = format!("alpine:3.20@{}", good.manifest_digest);
    let mut evil = Layout::default();
    let descriptor = evil.host_image("evil");
    let list = evil.list(std::slice::from_ref(&descriptor));
    let archives = [
        docker("evil", json!([pinned])),
        docker("evil", json!(["fine:1", pinned])),
        evil.archive(&[named(descriptor.clone(), REF_NAME, &pinned)]),
        evil.archive(&[named(descriptor.clone(), CONTAINERD, &pinned)]),
        evil.archive(&[named(list, REF_NAME, &pinned)]),
        evil.archive(&[
            named(descriptor.clone(), REF_NAME, "fine:1"),
            named(descriptor.clone(), REF_NAME, &pinned),
        ]),
    ];
    for (number, archive) in archives.iter().enumerate() {
        let error = load(&cache, archive).unwrap_err().to_string();
        assert!(
            error.contains(&pinned) && error.contains("has the digest"),
            "{number}: {error}"
        );
    }
    let plain = evil.archive(std::slice::from_ref(&descriptor));
    assert!(load_as(&cache, &plain, Some(&pinned)).is_err());
    assert!(load_as(&cache, &docker("evil", json!(null)), Some(&pinned)).is_err());
    assert_eq!(
        keys(&cache),
        ["alpine:3.20"],
        "something of a refused archive was listed"
    );
    assert_eq!(
        find(&cache, &pinned).unwrap().manifest_digest,
        good.manifest_digest
    );

    // The true one is taken: of the manifest, of the only layer, of the list that it stands in.
    let digest = descriptor["digest"].as_str().unwrap();
    let layer = Digest::of(&tar(&[("file", b"evil")]));
    let list = evil.list(std::slice::from_ref(&descriptor));
    let whole = list["digest"].as_str().unwrap().to_owned();
    for (name, archive) in [
        (
            format!("true:1@{digest}"),
            evil.archive(&[named(
                descriptor.clone(),
                REF_NAME,
                &format!("true:1@{digest}"),
            )]),
        ),
        (
            format!("true:2@{layer}"),
            docker("evil", json!([format!("true:2@{layer}")])),
        ),
        (
            format!("true:3@{digest}"),
            evil.archive(&[named(list, REF_NAME, &format!("true:3@{whole}"))]),
        ),
    ] {
        let loaded = load(&cache, &archive).unwrap().remove(0).reference;
        let found = find(&cache, &loaded.to_string());
        let found = found.unwrap_or_else(|| panic!("{name} is not found"));
        assert_eq!(found.layers[0].digest, layer);
        // The layer's digest says nothing of the config that came with it.
        assert_eq!(loaded.digest(), Some(&found.manifest_digest));
        assert_eq!(find(&cache, &name).is_some(), loaded.to_string() == name);
        cache.remove(&loaded, None).unwrap();
    }
}

#[test]
fn a_digest_that_an_index_claims_finds_nothing_and_can_be_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let evil = load_as(&cache, &docker("evil", json!(null)), Some("alpine:3.20"))
        .unwrap()
        .remove(0);
    let claimed = format!("alpine:3.20@{}", Digest::of(b"signed"));
    let index = cache.layout().index();
    let text = fs::read_to_string(&index)
        .unwrap()
        .replace("\"alpine:3.20\"", &format!("{claimed:?}"));
    fs::write(&index, text).unwrap();
    assert!(find(&cache, &claimed).is_none());
    assert!(
        find(&cache, &format!("alpine@{}", evil.manifest_digest)).is_none(),
        "found by a name that lies"
    );
    let listing = cache.listing().unwrap();
    assert!(listing.images.is_empty(), "{:?}", listing.images);
    assert!(
        listing.damaged[0].error.to_string().contains(&claimed),
        "{}",
        listing.damaged[0].error
    );
    assert_eq!(
        cache.remove(&claimed.parse().unwrap(), None).unwrap().len(),
        1
    );
    assert!(cache.listing().unwrap().damaged.is_empty());
}

#[test]
fn answers_that_went_by_names_are_not_believed() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let pull = load_as(&cache, &docker("good", json!(null)), Some("alpine:3.20"))
        .unwrap()
        .remove(0);
    let good = format!("alpine:3.20@{}", pull.manifest_digest);
    load_as(&cache, &docker("evil", json!(null)), Some("evil:1")).unwrap();
    assert!(find(&cache, &good).is_some() && find(&cache, "evil:1").is_some());
    // What a search for the digest left behind, with the entry of another image in it.
    let lookup = fs::read_dir(cache.layout().lookup())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (pinned, plain): (Vec<_>, Vec<_>) =
        lookup.partition(|path| path.to_string_lossy().ends_with("-pinned"));
    let evil = plain[0].join(Digest::of(b"evil:1").hex());
    fs::copy(evil, pinned[0].join(Digest::of(good.as_bytes()).hex())).unwrap();
    assert!(find(&cache, &good).is_none_or(|image| image.manifest_digest == pull.manifest_digest));
}

#[test]
fn names_of_one_image_are_one_name() {
    let scratch = tempfile::tempdir().unwrap();
    let mut layout = Layout::default();
    let image = layout.host_image("x");
    for (number, (key, name, listed, typed)) in [
        (REF_NAME, "docker.io/library/pod:1", "pod:1", "pod:1"),
        (
            CONTAINERD,
            "docker.io/library/pod:1",
            "pod:1",
            "docker.io/library/pod:1",
        ),
        (
            REF_NAME,
            "docker.io/local/alp:1",
            "local/alp:1",
            "local/alp:1",
        ),
        (
            CONTAINERD,
            "docker.io/local/alp:1",
            "local/alp:1",
            "index.docker.io/local/alp:1",
        ),
        (
            REF_NAME,
            "localhost/alp:1",
            "localhost/alp:1",
            "localhost/alp:1",
        ),
        (REF_NAME, "alpine:3.20", "alpine:3.20", "alpine:3.20"),
        (
            REF_NAME,
            "docker.io/library/alpine:3.20",
            "docker.io/library/alpine:3.20",
            "alpine:3.20",
        ),
        (
            CONTAINERD,
            "alpine:3.20",
            "docker.io/library/alpine:3.20",
            "docker.io/alpine:3.20",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let cache = new(scratch.path(), &number.to_string());
        load(&cache, &layout.archive(&[named(image.clone(), key, name)])).unwrap();
        assert_eq!(keys(&cache), [listed], "{name}");
        assert!(
            find(&cache, typed).is_some(),
            "{typed} does not find {name}"
        );
        assert_eq!(
            cache.remove(&typed.parse().unwrap(), None).unwrap().len(),
            1
        );
    }
    // The bare tag that docker and containerd leave to the other annotation is no name.
    let cache = new(scratch.path(), "both");
    let both = json!({CONTAINERD: "docker.io/library/pod:1.5", REF_NAME: "1.5"});
    load(
        &cache,
        &layout.archive(&[with(image.clone(), "annotations", both)]),
    )
    .unwrap();
    assert_eq!(keys(&cache), ["pod:1.5"]);
}

#[test]
fn dockers_alpine_never_takes_the_place_of_alpines_own() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let layer = fixture::commit(&cache, b"own");
    let own = fixture::publish(
        &cache,
        "alpine:3.20",
        Platform::host(),
        layer,
        "https://mirror.example/a",
    );
    load(&cache, &docker("theirs", json!(["alpine:3.20"]))).unwrap();
    assert_eq!(
        keys(&cache),
        ["alpine:3.20", "docker.io/library/alpine:3.20"]
    );
    assert_eq!(
        find(&cache, "alpine:3.20").unwrap().manifest_digest,
        own.manifest_digest
    );
    let theirs = find(&cache, "docker.io/library/alpine:3.20").unwrap();
    assert_eq!(theirs.provenance.verified, Verified::Unverified);
    // Who has only that one means it.
    cache.remove(&own.reference, None).unwrap();
    assert_eq!(
        find(&cache, "alpine:3.20").unwrap().manifest_digest,
        theirs.manifest_digest
    );
}

#[test]
fn names_that_an_older_version_listed_are_found() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    load_as(&cache, &docker("x", json!(null)), Some("local/alp:1")).unwrap();
    let index = cache.layout().index();
    let old = fs::read_to_string(&index)
        .unwrap()
        .replace("\"local/alp:1\"", "\"docker.io/local/alp:1\"");
    assert!(old.contains("docker.io"));
    fs::write(&index, old).unwrap();
    assert!(
        find(&cache, "local/alp:1").is_some() && find(&cache, "docker.io/local/alp:1").is_some()
    );
    assert_eq!(keys(&cache), ["local/alp:1"]);
    load_as(&cache, &docker("y", json!(null)), Some("local/alp:1")).unwrap();
    assert_eq!(
        keys(&cache)
            .iter()
            .filter(|key| *key == "local/alp:1")
            .count(),
        1
    );
}

#[test]
fn what_vouched_for_an_image_stays_when_its_bytes_come_once_more() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let mut layer = fixture::commit(&cache, &tar(&[("file", b"x")]));
    layer.media_type = LAYER.to_owned();
    let image = fixture::publish(
        &cache,
        "alpine:3.20",
        Platform::host(),
        layer,
        "https://mirror.example/a",
    );
    let mut archive = Vec::new();
    cache
        .save(
            std::slice::from_ref(&image),
            &mut archive,
            Path::new("archive"),
            &NoProgress,
        )
        .unwrap();
    let loaded = load(&cache, &archive).unwrap();
    assert_eq!(loaded[0].provenance, image.provenance);
    assert_eq!(
        find(&cache, "alpine:3.20").unwrap().provenance,
        image.provenance
    );
    // After another image had the name, too.
    load_as(&cache, &docker("other", json!(null)), Some("alpine:3.20")).unwrap();
    assert_eq!(
        find(&cache, "alpine:3.20").unwrap().provenance.verified,
        Verified::Unverified
    );
    load(&cache, &archive).unwrap();
    assert_eq!(
        find(&cache, "alpine:3.20").unwrap().provenance,
        image.provenance
    );
    // Not so under another name: nobody vouched that this is what it is called.
    load_as(&cache, &archive, Some("alpine:3.21")).unwrap();
    assert_eq!(
        find(&cache, "alpine:3.21").unwrap().provenance.verified,
        Verified::Unverified
    );
}

#[test]
fn annotations_of_an_archive_vouch_for_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let mut layout = Layout::default();
    let image = layout.host_image("x");
    let notes = json!({
        REF_NAME: "alpine:3.20", "box.provenance.verified": "signature", "box.provenance.fingerprint": "AB",
        "box.provenance.url": "https://mirror.example/", "org.opencontainers.image.version": "3.20.3",
    });
    let image = with(image, "annotations", notes.clone());
    let list = layout.list(std::slice::from_ref(&image));
    for archive in [
        layout.archive(std::slice::from_ref(&image)),
        layout.archive(&[with(list, "annotations", notes)]),
    ] {
        let loaded = load(&cache, &archive).unwrap();
        assert_eq!(loaded[0].provenance.verified, Verified::Unverified);
        assert_eq!(
            (
                loaded[0].provenance.url.as_str(),
                &loaded[0].provenance.version
            ),
            ("archive", &None)
        );
        assert_eq!(
            find(&cache, "alpine:3.20").unwrap().provenance,
            loaded[0].provenance
        );
    }
}

#[test]
fn what_has_no_name_is_said_or_left_out() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let mut layout = Layout::default();
    let (one, two) = (layout.host_image("1"), layout.host_image("2"));
    for archive in [
        layout.archive(std::slice::from_ref(&one)),
        docker("x", json!(null)),
        docker("x", json!([])),
    ] {
        assert!(matches!(
            load(&cache, &archive).unwrap_err(),
            Error::Nameless { .. }
        ));
        load_as(&cache, &archive, Some("x:1")).unwrap();
        cache.remove(&"x:1".parse().unwrap(), None).unwrap();
    }
    load(
        &cache,
        &layout.archive(&[one.clone(), named(two.clone(), REF_NAME, "two:2")]),
    )
    .unwrap();
    assert_eq!(keys(&cache), ["two:2"]);
    let error = load_as(&cache, &layout.archive(&[one, two]), Some("x:1"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot all be x:1"), "{error}");
}
