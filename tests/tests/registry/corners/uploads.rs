//! Pushes to registries that want their uploads in a way of their own.

use std::sync::atomic::{AtomicUsize, Ordering};

use box_tests::registry::{Image, Layer, Scripted, failure};
use box_tests::server::{Body, Request, Response};
use box_tests::{Home, Outcome};

use super::{bearer, origin, password, pull, unauthorized, with_credentials};

/// A home with an image that has a layer of 9 MB.
fn home_with_image() -> (Home, Image, String) {
    let image = Image::new(&[
        Layer::of(&[("a", b"a")]),
        Layer::random("big", 21, 9_000_000),
    ]);
    let source = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let reference = source.reference("app:one");
    pull(&home, &reference).succeeds();
    (home, image, reference)
}

fn push(home: &Home, source: &str, target: &str) -> Outcome {
    home.run([
        "push",
        source,
        target,
        "--retries",
        "2",
        "--stall-timeout=2",
    ])
}

/// Asserts that the registry has the image as it was pulled.
#[track_caller]
fn has(report: &str, registry: &Scripted, image: &Image) {
    let document = registry.store().manifest("copy", "one");
    assert_eq!(
        document,
        Some((image.media_type.clone(), image.bytes.clone())),
        "{report}"
    );
    for (digest, blob) in &image.blobs {
        assert_eq!(
            registry.store().blob("copy", digest).as_ref(),
            Some(blob),
            "{report}"
        );
    }
}

/// An upload's answer with other header fields.
fn changed(response: Response, name: &str, value: impl Fn(&str) -> String) -> Response {
    let mut response = response;
    for (field, text) in &mut response.headers {
        if field.eq_ignore_ascii_case(name) {
            *text = value(text);
        }
    }
    response
}

/// What a registry does with the requests of a push, if it is not what a kind one does: the good answer, the request, and the number
/// of earlier ones.
type Quirk = fn(&dyn Fn(&Request) -> Response, &Request, usize) -> Option<Response>;

/// A registry with a quirk, which may look at the good answer first.
fn quirky(quirk: Quirk) -> Scripted {
    let inner = std::sync::Arc::new(box_tests::registry::Store::default());
    Scripted::over(inner, move |store, request, nth| {
        quirk(&|request| store.answer(request), request, nth)
    })
}

fn is_upload(request: &Request) -> bool {
    request.route().contains("/blobs/uploads/")
}

const QUIRKS: &[(&str, Quirk)] = &[
    ("a kind registry", |_, _, _| None),
    // GHCR (oras-project/rust-oci-client#35, ocx-sh/ocx#237): at most 4 MiB in a request.
    ("oras-project/rust-oci-client#35", |_, request, _| {
        (is_upload(request) && request.body.len() > 4 << 20)
            .then(|| failure(416, "REQUESTED_RANGE_NOT_SATISFIABLE"))
    }),
    // A proxy in front of it (smol-machines/smolvm#436, containers/image#1869).
    ("smol-machines/smolvm#436", |_, request, _| {
        (is_upload(request) && request.body.len() > 4 << 20).then(|| Response::status(413))
    }),
    // opencontainers/distribution-spec#391: chunks of at least 5 MB, but for the last.
    (
        "opencontainers/distribution-spec#391",
        |good, request, _| {
            // A chunk that begins before 5 MB follows one that was too small.
            let start = request
                .header("content-range")
                .and_then(|range| range.split('-').next());
            let start =
                start.and_then(|start| start.trim_start_matches("bytes ").parse::<u64>().ok());
            if start.is_some_and(|start| (1..5_000_000).contains(&start)) {
                return Some(failure(400, "SIZE_INVALID"));
            }
            (request.method == "POST")
                .then(|| good(request).header("OCI-Chunk-Min-Length", "5000000"))
        },
    ),
    // open-component-model/open-component-model#3642: as much as no memory has.
    ("open-component-model#3642", |good, request, _| {
        (request.method == "POST")
            .then(|| good(request).header("OCI-Chunk-Min-Length", "9223372036854775807"))
    }),
    // distribution/distribution#1723 and #48: the location has a query, which stays.
    ("distribution/distribution#1723", |good, request, _| {
        if is_upload(request)
            && request.method != "POST"
            && request.parameter("_state").as_deref() != Some("a=b&c")
        {
            return Some(failure(400, "BLOB_UPLOAD_INVALID"));
        }
        is_upload(request).then(|| {
            changed(good(request), "Location", |old| {
                format!("{old}&_state=a%3Db%26c")
            })
        })
    }),
    // opencontainers/distribution-spec#80: absolute, and relative to the request.
    ("opencontainers/distribution-spec#80", |good, request, _| {
        let origin = origin(request);
        is_upload(request)
            .then(|| changed(good(request), "Location", |old| format!("{origin}{old}")))
    }),
    ("opencontainers/distribution-spec#80", |good, request, _| {
        (is_upload(request) && request.method == "POST").then(|| {
            changed(good(request), "Location", |old| {
                old.rsplit('/').next().unwrap_or_default().to_owned()
            })
        })
    }),
    // aws/containers-roadmap#2831: the range does not move after the first chunk; and chunks are needed.
    ("aws/containers-roadmap#2831", |good, request, _| {
        if is_upload(request) && request.body.len() > 4 << 20 {
            return Some(Response::status(413));
        }
        (request.method == "PATCH")
            .then(|| changed(good(request), "Range", |_| "0-1048575".to_owned()))
    }),
    // distribution/distribution#2363: `0-0` after nothing.
    ("distribution/distribution#2363", |good, request, _| {
        (request.method == "POST").then(|| changed(good(request), "Range", |_| "0-0".to_owned()))
    }),
    // distribution/distribution#3848: no digest in the answer to a manifest.
    ("distribution/distribution#3848", |good, request, _| {
        (request.method == "PUT" && request.route().contains("/manifests/")).then(|| {
            let mut answer = good(request);
            answer
                .headers
                .retain(|(name, _)| name != "Docker-Content-Digest");
            answer
        })
    }),
    // nginx and others answer 200 or 204 where 201 is written (gardener/cc-utils#1665: keppel, nexus).
    ("gardener/cc-utils#1665", |good, request, _| {
        (request.method == "PUT").then(|| {
            let mut answer = good(request);
            if answer.status == 201 {
                answer.status = 200;
            }
            answer
        })
    }),
    // HEAD of a blob is refused (carvel-dev/imgpkg#131).
    ("carvel-dev/imgpkg#131", |_, request, _| {
        (request.method == "HEAD").then(|| Response::status(405))
    }),
    // 503 once for every upload that is begun and for the manifest.
    ("docker/hub-feedback#2023", |_, request, nth| {
        (nth == 0 && request.method != "HEAD" && !request.path.contains("session"))
            .then(|| Response::status(503).header("Retry-After", "0"))
    }),
];

#[test]
fn every_way_of_uploading_leads_to_the_same_image() {
    let (home, image, source) = home_with_image();
    for (report, quirk) in QUIRKS {
        let registry = quirky(*quirk);
        let outcome = push(&home, &source, &registry.reference("copy:one"));
        assert_eq!(outcome.status, 0, "{report}: {}", outcome.stderr);
        has(report, &registry, &image);
    }
}

#[test]
fn a_chunk_limit_costs_no_second_try_of_everything() {
    // ocx-sh/ocx#237: the whole blob again and again.
    let (home, _, source) = home_with_image();
    let registry = quirky(|_, request, _| {
        (is_upload(request) && request.body.len() > 4 << 20)
            .then(|| failure(416, "REQUESTED_RANGE_NOT_SATISFIABLE"))
    });
    push(&home, &source, &registry.reference("copy:one")).succeeds();
    let sent: usize = registry
        .requests()
        .iter()
        .map(|request| request.body.len())
        .sum();
    assert!(sent < 30_000_000, "{sent} bytes for a blob of 9 MB");
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_push_is_renewed() {
    // moby/moby#33558, docker/buildx#324, cesanta/docker_auth#240, kitops-ml/kitops#1009: every token is good for three requests.
    let (home, image, source) = home_with_image();
    let uses = AtomicUsize::new(0);
    let registry = Scripted::new(move |request, nth| {
        if request.route() == "/token" {
            uses.store(0, Ordering::SeqCst);
            return Some(Response::new(format!(
                r#"{{"token":"{nth}","expires_in":300}}"#
            )));
        }
        let fresh = bearer(request).is_some() && uses.fetch_add(1, Ordering::SeqCst) < 3;
        let realm = format!("{}/token", origin(request));
        let challenge =
            format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:copy:pull,push\"");
        (!fresh).then(|| unauthorized(&[&challenge]))
    });
    let target = registry.reference("copy:one");
    let args = ["push", &source, &target, "--jobs", "1"];
    let outcome = with_credentials(&home, &registry.host(), &password(), &args);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    has("tokens", &registry, &image);
}

#[test]
fn a_mount_that_the_registry_does_not_want_is_an_upload() {
    // opencontainers/distribution-spec#204 (202), google/go-containerregistry#219 (401), gardener/cc-utils#1665 (anything else).
    for status in [202, 404, 405, 400] {
        let image = Image::new(&[Layer::of(&[("a", b"a")])]);
        let registry = Scripted::new(move |request, _| {
            let mount = request.method == "POST" && request.parameter("mount").is_some();
            (mount && status != 202).then(|| Response::status(status))
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let source = registry.reference("app:one");
        pull(&home, &source).succeeds();
        let outcome = push(&home, &source, &registry.reference("copy:one"));
        assert_eq!(outcome.status, 0, "{status}: {}", outcome.stderr);
        has("mount", &registry, &image);
    }
}

#[test]
fn failures_of_a_push_are_told_in_words() {
    let (home, _, source) = home_with_image();
    let cases: &[(&str, Quirk, &[&str])] = &[
        (
            "denied",
            |_, request, _| (request.method == "POST").then(|| failure(403, "DENIED")),
            &["denies"],
        ),
        (
            "no uploads",
            |_, request, _| (request.method == "POST").then(|| failure(404, "NAME_UNKNOWN")),
            &[],
        ),
        (
            "no location",
            |_, request, _| (request.method == "POST").then(|| Response::status(202)),
            &[],
        ),
        (
            "another digest",
            |_, request, _| {
                (request.method == "PUT" && request.route().contains("/manifests/")).then(|| {
                    Response::status(201).header(
                        "Docker-Content-Digest",
                        format!("sha256:{}", "0".repeat(64)),
                    )
                })
            },
            &[],
        ),
        (
            "a full disk",
            |_, request, _| (request.method == "PUT").then(|| failure(507, "UNKNOWN")),
            &[],
        ),
        (
            "an endless 416",
            |_, request, _| {
                (request.method != "POST" && is_upload(request)).then(|| Response::status(416))
            },
            &[],
        ),
        (
            "a location elsewhere",
            |good, request, _| {
                (request.method == "POST").then(|| {
                    changed(good(request), "Location", |_| {
                        "file:///etc/passwd".to_owned()
                    })
                })
            },
            &[],
        ),
    ];
    for (case, quirk, words) in cases {
        let registry = quirky(*quirk);
        let outcome = push(&home, &source, &registry.reference("copy:one"));
        assert_eq!(outcome.status, 125, "{case}: {}", outcome.stderr);
        outcome.fails(words);
        assert!(
            registry.requests().len() < 60,
            "{case}: {} requests",
            registry.requests().len()
        );
        if *case != "another digest" {
            assert_eq!(registry.store().manifest("copy", "one"), None, "{case}");
        }
    }
}

#[test]
fn an_upload_that_breaks_is_no_image() {
    // distribution/distribution#1616: the connection ends while a layer is sent; nothing has the tag before everything is there.
    let (home, image, source) = home_with_image();
    let registry = quirky(|_, request, nth| {
        (request.method == "PUT"
            && is_upload(request)
            && request.body.len() > 1_000_000
            && nth == 0)
            .then(|| {
                let mut answer = Response::status(500);
                answer.body = Body::Bytes(Vec::new());
                answer
            })
    });
    push(&home, &source, &registry.reference("copy:one")).succeeds();
    has("broken", &registry, &image);
    let order: Vec<_> = registry
        .requests()
        .into_iter()
        .filter(|request| request.method == "PUT")
        .collect();
    assert!(
        order.last().unwrap().route().contains("/manifests/"),
        "the manifest is the last"
    );
}
