#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn canonical_forms() {
    for (text, name, tag, canonical) in [
        ("alpine", "alpine", Some("latest"), "alpine:latest"),
        ("alpine:3.20", "alpine", Some("3.20"), "alpine:3.20"),
        ("team/app", "team/app", Some("latest"), "team/app:latest"),
        (
            "localhost:5000/app",
            "localhost:5000/app",
            Some("latest"),
            "localhost:5000/app:latest",
        ),
        (
            "localhost:5000",
            "localhost",
            Some("5000"),
            "localhost:5000",
        ),
        (
            "Reg.Example:5000/a__b/c--d:V_1.2-x",
            "Reg.Example:5000/a__b/c--d",
            Some("V_1.2-x"),
            "Reg.Example:5000/a__b/c--d:V_1.2-x",
        ),
        ("[::1]:80/a:b", "[::1]:80/a", Some("b"), "[::1]:80/a:b"),
    ] {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(
            (reference.name(), reference.tag(), reference.key().as_str()),
            (name, tag, canonical),
            "{text}"
        );
    }
}

/// Each text names an image by this key, and docker's tools by this full name.
fn assert_keys_and_full_names(cases: &[(&str, &str, &str)]) {
    for &(text, canonical, full) in cases {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.key(), canonical, "{text}");
        assert_eq!(reference.in_full(), full, "{text}");
        assert_eq!(canonical.parse::<Reference>().unwrap(), reference, "{text}");
    }
}

#[test]
fn one_image_has_one_name() {
    assert_keys_and_full_names(&[
        ("pod:1", "pod:1", "docker.io/library/pod:1"),
        (
            "docker.io/library/pod:1",
            "pod:1",
            "docker.io/library/pod:1",
        ),
        (
            "docker.io/pod",
            "pod:latest",
            "docker.io/library/pod:latest",
        ),
        (
            "index.docker.io/library/pod:1",
            "pod:1",
            "docker.io/library/pod:1",
        ),
        ("library/pod:1", "pod:1", "docker.io/library/pod:1"),
        (
            "docker.io/local/alp:1",
            "local/alp:1",
            "docker.io/local/alp:1",
        ),
        (
            "index.docker.io/local/alp:1",
            "local/alp:1",
            "docker.io/local/alp:1",
        ),
        ("library/a/b:1", "library/a/b:1", "docker.io/library/a/b:1"),
        ("localhost/alp:1", "localhost/alp:1", "localhost/alp:1"),
        (
            "localhost:5000/library/alp:1",
            "localhost:5000/library/alp:1",
            "localhost:5000/library/alp:1",
        ),
        ("LOCAL/alp:1", "LOCAL/alp:1", "LOCAL/alp:1"),
        (
            "quay.io/library/pod:1",
            "quay.io/library/pod:1",
            "quay.io/library/pod:1",
        ),
    ]);
}

#[test]
fn a_host_is_kept_where_a_name_would_mean_another_image_without_it() {
    assert_keys_and_full_names(&[
        // Only the host tells these from the names of other hosts.
        (
            "docker.io/quay.io/pod:1",
            "docker.io/quay.io/pod:1",
            "docker.io/quay.io/pod:1",
        ),
        (
            "docker.io/localhost/pod:1",
            "docker.io/localhost/pod:1",
            "docker.io/localhost/pod:1",
        ),
        (
            "docker.io/docker.io/pod:1",
            "docker.io/docker.io/pod:1",
            "docker.io/docker.io/pod:1",
        ),
        (
            "docker.io/library/library",
            "library:latest",
            "docker.io/library/library:latest",
        ),
        (
            "docker.io",
            "docker.io:latest",
            "docker.io/library/docker.io:latest",
        ),
        // Alpine's own release, and docker's image of the same name.
        (
            "alpine:3.20",
            "alpine:3.20",
            "docker.io/library/alpine:3.20",
        ),
        (
            "docker.io/library/alpine:3.20",
            "docker.io/library/alpine:3.20",
            "docker.io/library/alpine:3.20",
        ),
        (
            "docker.io/alpine:3.20",
            "docker.io/library/alpine:3.20",
            "docker.io/library/alpine:3.20",
        ),
        (
            "library/alpine:3.20",
            "docker.io/library/alpine:3.20",
            "docker.io/library/alpine:3.20",
        ),
        (
            "docker.io/team/alpine",
            "team/alpine:latest",
            "docker.io/team/alpine:latest",
        ),
    ]);
    let own: Reference = "alpine:3.20".parse().unwrap();
    assert_eq!(own.as_docker_means().key(), "docker.io/library/alpine:3.20");
    let pod: Reference = "pod".parse().unwrap();
    assert_eq!(pod.as_docker_means(), pod);
}

#[test]
fn a_short_name_is_one_without_a_host() {
    for (text, short) in [
        ("pod", Some("pod")),
        ("pod:1", Some("pod")),
        ("team/app:1", Some("team/app")),
        ("library/alpine", Some("library/alpine")),
        ("localhost:5000", Some("localhost")),
        ("alpine", None),
        ("alpine:3.20", None),
        ("docker.io/library/pod", None),
        ("localhost/pod", None),
        ("localhost:5000/pod:1", None),
        ("UPPER/pod", None),
        ("Pod", None),
        ("", None),
    ] {
        assert_eq!(Reference::short_name(text), short, "{text}");
    }
    let pinned = format!("team/pod:1@{DIGEST}");
    assert_eq!(Reference::short_name(&pinned), Some("team/pod"));
}

#[test]
fn digests() {
    let both: Reference = format!("alpine:3.20@{DIGEST}").parse().unwrap();
    assert_eq!(
        (both.tag(), both.digest().unwrap().to_string().as_str()),
        (Some("3.20"), DIGEST)
    );
    let only: Reference = format!("alpine@{DIGEST}").parse().unwrap();
    assert_eq!(only.tag(), None);
    assert_eq!(only.key(), format!("alpine@{DIGEST}"));
    assert_eq!(only.without_digest().key(), "alpine:latest");
}

#[test]
fn refused() {
    for bad in [
        "",
        ":",
        "@",
        "Alpine",
        "alpine:",
        "alpine: 3",
        "alpine@",
        "alpine@sha256:12",
        "/alpine",
        "alpine/",
        "a//b",
        "..",
        "../alpine",
        "a/../b",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "alpine:.x",
        "alpine:a/b/c",
        "a\nb",
        "a\0b",
        "é",
        "alpine:\u{1b}[31m",
        "host.example:x/app",
        "host.example:99999/app",
        "-h.example/app",
        "[::g]/a",
        "[::1]x/a",
        &"a".repeat(256),
        &format!("a:{}", "b".repeat(129)),
    ] {
        assert!(bad.parse::<Reference>().is_err(), "{bad:?} was accepted");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_its_result_is_stable(text in "\\PC{0,40}|[a-zA-Z0-9:/@._\\[\\]-]{0,40}|((index\\.)?docker\\.io/|library/|localhost/|a\\.b/|alpine|c/|d){1,5}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(&reference.key().parse::<Reference>().unwrap(), &reference);
            // What other tools call it leads back to it; but for Alpine's own release, whose name they have for another.
            prop_assert_eq!(reference.in_full().parse::<Reference>().unwrap(), reference.as_docker_means());
        }
    }
}
