//! What lies in an archive: platforms, indexes in indexes, and what is no image.
#![allow(clippy::unwrap_used, missing_docs)]

mod archives;

use archives::{
    CONFIG, INDEX, Layout, MANIFEST, REF_NAME, find, keys, load, load_as, named, new, with,
};
use box_cache::{Digest, Error, Platform};
use serde_json::{Value, json};

#[test]
fn attestations_and_artifacts_are_left_out() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let mut layout = Layout::default();
    let image = layout.host_image("x");
    let statement = layout.blob(b"{}", "application/vnd.in-toto+json");
    let config = layout.document(&json!({"os": "unknown", "architecture": "unknown", "rootfs": {"type": "layers", "diff_ids": [statement["digest"]]}}), CONFIG);
    let attestation =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement]});
    let attestation = layout.document(&attestation, MANIFEST);
    let marked = with(
        attestation.clone(),
        "annotations",
        json!({"vnd.docker.reference.type": "attestation-manifest"}),
    );
    let unknown = with(
        attestation.clone(),
        "platform",
        json!({"os": "unknown", "architecture": "unknown"}),
    );
    let empty = layout.blob(b"{}", "application/vnd.oci.empty.v1+json");
    let artifact = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-sig", "config": empty, "layers": [empty]});
    let artifact = layout.document(&artifact, MANIFEST);
    // cosign's older signatures have an image's config.
    let signature = layout.blob(b"sig", "application/vnd.dev.cosign.simplesigning.v1+json");
    let config = layout.document(&json!({"os": "", "architecture": "", "rootfs": {"type": "layers", "diff_ids": [signature["digest"]]}}), CONFIG);
    let cosign =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [signature]});
    let cosign = named(
        layout.document(&cosign, MANIFEST),
        REF_NAME,
        "sha256-abc.sig",
    );
    let list = layout.list(&[image.clone(), marked.clone(), unknown.clone()]);
    for (number, manifests) in [
        vec![named(list.clone(), REF_NAME, "a:1")],
        vec![
            named(image.clone(), REF_NAME, "a:1"),
            artifact.clone(),
            attestation.clone(),
            marked,
            unknown,
            cosign.clone(),
        ],
        vec![
            cosign.clone(),
            named(artifact.clone(), REF_NAME, "a:2"),
            named(image, REF_NAME, "a:1"),
        ],
    ]
    .iter()
    .enumerate()
    {
        let cache = new(scratch.path(), &number.to_string());
        let loaded = load(&cache, &layout.archive(manifests)).unwrap();
        assert_eq!(loaded.len(), 1, "{number}");
        assert_eq!(keys(&cache), ["a:1"], "{number}");
        load_as(&cache, &layout.archive(manifests), Some("b:1")).unwrap();
    }
    let error = load(&cache, &layout.archive(&[cosign, artifact]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("contains no image, but") && error.contains("application/x-sig"),
        "{error}"
    );
}

#[test]
fn indexes_in_indexes_are_followed_and_bounded() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let mut layout = Layout::default();
    let image = layout.host_image("x");
    let mut list = layout.list(std::slice::from_ref(&image));
    for _ in 0..3 {
        list = layout.list(std::slice::from_ref(&list));
    }
    load(
        &cache,
        &layout.archive(&[named(list.clone(), REF_NAME, "nest:1")]),
    )
    .unwrap();
    assert_eq!(keys(&cache), ["nest:1"]);
    for _ in 0..8 {
        list = layout.list(std::slice::from_ref(&list));
    }
    let error = load(&cache, &layout.archive(&[named(list, REF_NAME, "nest:1")]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("are nested"), "{error}");
    // Many ways to the same one: each level doubles them, and each document is read once.
    let mut wide = layout.list(std::slice::from_ref(&image));
    for level in 0..6 {
        let copies: Vec<Value> = (0..2000)
            .map(|n| {
                with(
                    wide.clone(),
                    "annotations",
                    json!({"n": format!("{level}.{n}")}),
                )
            })
            .collect();
        wide = layout.list(&copies);
    }
    load(
        &cache,
        &layout.archive(&[named(wide.clone(), REF_NAME, "wide:1")]),
    )
    .unwrap();
    let copies: Vec<Value> = (0..20_001)
        .map(|n| with(wide.clone(), "annotations", json!({"n": n.to_string()})))
        .collect();
    let error = load(&cache, &layout.archive(&copies))
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 20000 descriptors"), "{error}");
    // An index that is not what its descriptor says.
    let digest = Digest::of(b"{}");
    let lie =
        json!({"mediaType": INDEX, "digest": digest, "size": 2, "annotations": {REF_NAME: "a:1"}});
    let path = format!("blobs/sha256/{}", digest.hex());
    layout.blobs.insert(path, b"[]".to_vec());
    assert!(matches!(
        load(&cache, &layout.archive(&[lie])).unwrap_err(),
        Error::DigestMismatch { .. }
    ));
}

#[test]
fn a_document_that_is_index_and_manifest_is_neither() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let mut layout = Layout::default();
    let image = layout.host_image("x");
    let bytes =
        layout.blobs[&format!("blobs/sha256/{}", &image["digest"].as_str().unwrap()[7..])].clone();
    let mut both: Value = serde_json::from_slice(&bytes).unwrap();
    both["manifests"] = json!([image]);
    for media_type in [MANIFEST, INDEX] {
        both["mediaType"] = json!(media_type);
        let descriptor = named(layout.document(&both, media_type), REF_NAME, "a:1");
        let error = load(&cache, &layout.archive(&[descriptor]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("as well") || error.contains("both index and manifest"),
            "{error}"
        );
    }
    let other = with(
        named(image, REF_NAME, "a:1"),
        "mediaType",
        json!("application/vnd.docker.distribution.manifest.v2+json"),
    );
    let error = load(&cache, &layout.archive(&[other]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("its mediaType is"), "{error}");
}

#[test]
fn of_several_platforms_those_are_loaded_that_are_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let mut layout = Layout::default();
    let host = layout.host_image("host");
    let other = layout.image("other", json!({"os": "linux", "architecture": "s390x"}));
    let absent = json!({"mediaType": MANIFEST, "digest": Digest::of(b"absent"), "size": 6, "platform": {"os": "linux", "architecture": "ppc64le"}});
    let list = layout.list(&[absent.clone(), host, other]);
    let loaded = load(&cache, &layout.archive(&[named(list, REF_NAME, "a:1")])).unwrap();
    assert_eq!(loaded.len(), 2);
    let only = layout.list(&[absent]);
    let error = load(&cache, &layout.archive(&[named(only, REF_NAME, "b:1")]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("linux/ppc64le"), "{error}");
    assert_eq!(cache.platforms(&"a:1".parse().unwrap()).unwrap().len(), 2);
}

#[test]
fn a_config_without_architecture_is_for_what_describes_it_or_for_this_machine() {
    let scratch = tempfile::tempdir().unwrap();
    for (number, (config, described, expected)) in [
        (json!({}), None, Some(Platform::host())),
        (
            json!({"os": "", "architecture": ""}),
            None,
            Some(Platform::host()),
        ),
        (
            json!({"os": null, "architecture": null}),
            None,
            Some(Platform::host()),
        ),
        (
            json!({}),
            Some(json!({"os": "linux", "architecture": "s390x"})),
            None,
        ),
        (
            json!({}),
            Some(json!({"os": "", "architecture": ""})),
            Some(Platform::host()),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let cache = new(scratch.path(), &number.to_string());
        let mut layout = Layout::default();
        let mut image = named(layout.image("x", config), REF_NAME, "a:1");
        if let Some(described) = described {
            image["platform"] = described;
        }
        let loaded = load(&cache, &layout.archive(&[image])).unwrap();
        let wanted = expected
            .clone()
            .unwrap_or_else(|| Platform::new("linux", "s390x", None));
        assert_eq!(loaded[0].platform, wanted, "{number}");
        assert_eq!(
            find(&cache, "a:1").is_some(),
            expected.is_some(),
            "{number}"
        );
    }
}

#[test]
fn the_best_fitting_platform_is_found() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = new(scratch.path(), "cache");
    let host = Platform::host();
    let mut layout = Layout::default();
    let mut manifests = Vec::new();
    for (name, architecture, variant) in [
        ("both:1", host.architecture(), "v98"),
        (
            "both:1",
            host.architecture(),
            host.variant().unwrap_or_default(),
        ),
        ("above:1", host.architecture(), "v99"),
        ("foreign:1", "s390x", ""),
    ] {
        let image = layout.image(
            variant,
            json!({"os": "linux", "architecture": architecture, "variant": variant}),
        );
        manifests.push(named(image, REF_NAME, name));
    }
    load(&cache, &layout.archive(&manifests)).unwrap();
    assert_eq!(find(&cache, "both:1").unwrap().platform, host);
    assert!(find(&cache, "above:1").is_none() && find(&cache, "foreign:1").is_none());
    let exactly = Platform::new("linux", host.architecture(), Some("v99"));
    assert!(
        cache
            .find(&"above:1".parse().unwrap(), &exactly)
            .unwrap()
            .is_some()
    );
    assert_eq!(cache.find_all(&"both:1".parse().unwrap()).unwrap().len(), 2);
    if host.architecture() == "amd64" {
        let image = layout.image("386", json!({"os": "linux", "architecture": "i386"}));
        load(&cache, &layout.archive(&[named(image, REF_NAME, "old:1")])).unwrap();
        assert_eq!(
            find(&cache, "old:1").unwrap().platform.to_string(),
            "linux/386"
        );
    }
}
