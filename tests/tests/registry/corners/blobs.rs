//! Transfers of blobs: ranges, redirections, lengths and lies.

use std::sync::Arc;

use box_tests::Home;
use box_tests::registry::{Image, Layer, Scripted};
use box_tests::server::{Body, Certificate, Request, Response, Server};

use super::{basic, is_empty, is_whole, password, pull, small, unauthorized, with_credentials};

/// An image with a layer that takes a moment, and that layer.
fn large() -> (Image, Layer) {
    let layer = Layer::random("big", 7, 3_000_000);
    (
        Image::new(&[Layer::of(&[("a", b"a")]), layer.clone()]),
        layer,
    )
}

/// How a registry answers the requests for the layer: the blob, the request, and the number of earlier requests.
type Answer = fn(&[u8], &Request, usize) -> Option<Response>;

fn from(request: &Request) -> Option<usize> {
    let range = request.header("range")?.strip_prefix("bytes=")?;
    range.split('-').next()?.parse().ok()
}

fn part(blob: &[u8], start: usize, said: usize) -> Response {
    let mut response = Response::status(206).header(
        "Content-Range",
        format!("bytes {said}-{}/{}", blob.len() - 1, blob.len()),
    );
    response.body = Body::Bytes(blob[start..].to_vec());
    response
}

#[test]
fn a_transfer_that_breaks_is_continued_or_begun_again() {
    let cases: &[(&str, Answer)] = &[
        // moby/moby#35686, containers/image#1145, containerd/containerd#4908: the connection breaks, once and often.
        ("moby/moby#35686", |blob, _, nth| {
            (nth == 0).then(|| Response::new(blob).drop_after(1_000_000))
        }),
        ("containerd/containerd#5921", |blob, request, nth| {
            match (nth, from(request)) {
                (0, _) => Some(Response::new(blob).drop_after(500_000)),
                (1..4, Some(start)) => Some(part(blob, start, start).drop_after(500_000)),
                _ => None,
            }
        }),
        // canonical/snapd#8105: 200 with everything to a request for the rest.
        ("canonical/snapd#8105", |blob, _, nth| match nth {
            0 => Some(Response::new(blob).drop_after(1_000_000)),
            _ => Some(Response::new(blob)),
        }),
        // anchore/stereoscope#695: 416 to a range without an end.
        ("anchore/stereoscope#695", |blob, request, nth| {
            match (nth, from(request)) {
                (0, _) => Some(Response::new(blob).drop_after(1_000_000)),
                (_, Some(_)) => Some(Response::status(416)),
                _ => None,
            }
        }),
        // distribution/distribution#2475: no length, the end of the connection is the end.
        ("distribution/distribution#2475", |blob, _, _| {
            Some(Response::new(blob).without_length())
        }),
        // podman-container-tools/podman#24715: no length, and the connection ends too early.
        ("podman-container-tools/podman#24715", |blob, _, nth| {
            (nth == 0).then(|| Response::new(blob).without_length().drop_after(1_000_000))
        }),
        // moby/moby#17595: the blob is gzip, and the server says so.
        ("moby/moby#17595", |blob, _, _| {
            Some(Response::new(blob).header("Content-Encoding", "x-gzip"))
        }),
        // docker/hub-feedback#2023: too many requests in the middle.
        ("docker/hub-feedback#2023", |_, _, nth| {
            (nth == 0).then(|| Response::status(429).header("Retry-After", "1"))
        }),
        // moby/moby#50065: the storage behind the registry has a bad moment.
        ("moby/moby#50065", |_, _, nth| {
            (nth == 0).then(|| Response::status(500))
        }),
        ("anchore/stereoscope#695", |blob, _, nth| {
            (nth == 0).then(|| Response::new(blob).stall_after(1_000_000))
        }),
    ];
    for (report, answer) in cases {
        let (image, layer) = large();
        let blob = Arc::new(layer.blob.clone());
        let (digest, answer) = (layer.digest(), *answer);
        let registry = Scripted::new(move |request, nth| {
            let asked = request.method == "GET" && request.route().ends_with(&digest);
            asked.then(|| answer(&blob, request, nth)).flatten()
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let reference = registry.reference("app:one");
        let outcome = home.run(["pull", &reference, "--retries", "4", "--stall-timeout=1"]);
        assert_eq!(outcome.status, 0, "{report}: {}", outcome.stderr);
        is_whole(&home, &image);
    }
}

#[test]
fn lies_about_a_blob_are_found_and_leave_nothing() {
    let cases: &[(&str, Answer)] = &[
        // openai/tart#1255: another range than was asked for, under its right name and under a wrong one.
        ("openai/tart#1255", |blob, request, _| match from(request) {
            None => Some(Response::new(blob).drop_after(1_000_000)),
            Some(_) => Some(part(blob, 0, 0)),
        }),
        ("jizhi0v0/duo-updater#245", |blob, request, _| {
            match from(request) {
                None => Some(Response::new(blob).drop_after(1_000_000)),
                Some(start) => Some(part(blob, 0, start)),
            }
        }),
        // goharbor/harbor#23911: a page of the web server.
        ("goharbor/harbor#23911", |_, _, _| {
            Some(Response::new("<!DOCTYPE html>").header("Content-Type", "text/html"))
        }),
        // A length of 5 GB, and as many zeros.
        ("boxlite-ai/boxlite#772", |_, _, _| {
            Some(Response::with(200, Body::Zeros(5_000_000_000)))
        }),
        ("inflexa-ai/inflexa#517", |blob, _, _| {
            Some(Response::new(blob).header("Content-Length", "5000000000"))
        }),
        // moby/moby#33527, distribution/distribution#2952: one bit is wrong, again and again.
        ("distribution/distribution#2952", |blob, _, _| {
            Some(Response::new(blob).corrupt_at(1_000_000))
        }),
        // distribution/distribution#2788: nothing at all.
        ("distribution/distribution#2788", |_, _, _| {
            Some(Response::new(""))
        }),
        // moby/buildkit#2198: zeros of the right length.
        ("moby/buildkit#2198", |blob, _, _| {
            Some(Response::with(200, Body::Zeros(blob.len() as u64)))
        }),
        // quay/quay#1310: packed once more on the way, though identity was asked for.
        ("quay/quay#1310", |blob, _, _| {
            let packed = Layer::gzip(blob).blob;
            Some(Response::new(packed).header("Content-Encoding", "gzip"))
        }),
    ];
    for (report, answer) in cases {
        let (image, layer) = large();
        let blob = Arc::new(layer.blob.clone());
        let (digest, answer) = (layer.digest(), *answer);
        let registry = Scripted::new(move |request, nth| {
            let asked = request.method == "GET" && request.route().ends_with(&digest);
            asked.then(|| answer(&blob, request, nth)).flatten()
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull(&home, &registry.reference("app:one"));
        assert_eq!(outcome.status, 125, "{report}: {}", outcome.stderr);
        let outcome = outcome.fails(&[]);
        assert!(
            outcome.stderr.contains(&layer.digest()[..19]),
            "{report}: which blob? {}",
            outcome.stderr
        );
        let images = home.run(["images", "--format", "json"]).succeeds();
        assert_eq!(images.text(), "[]", "{report}");
    }
}

#[test]
fn identity_is_asked_for() {
    let (image, layer) = large();
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    for request in registry.asked("GET", &layer.digest()) {
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
}

#[test]
fn credentials_stay_with_the_registry_when_the_blob_is_elsewhere() {
    // open-policy-agent/opa#6580, renovatebot/renovate#3877, Azure/acr#217, distribution/distribution#2055: the storage answers 400 to
    // credentials that are not its own.
    for status in [301, 302, 303, 307, 308] {
        let image = small();
        let blobs = image.blobs.clone();
        let storage = Server::new(move |request| {
            if request.header("authorization").is_some() || request.header("cookie").is_some() {
                return Response::status(400);
            }
            let digest = request.route().trim_start_matches('/');
            blobs
                .get(digest)
                .map_or_else(|| Response::status(404), |blob| Response::new(blob.clone()))
        });
        let elsewhere = format!("http://localhost:{}", storage.address().port());
        let registry = Scripted::new(move |request, _| {
            if request.header("authorization") != Some(&basic()) {
                return Some(unauthorized(&["Basic realm=\"x\""]));
            }
            let (_, digest) = request.route().split_once("/blobs/")?;
            let target = format!("{elsewhere}/{digest}?X-Amz-Signature=s");
            Some(
                Response::status(status)
                    .header("Location", target)
                    .header("Set-Cookie", "session=1"),
            )
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let reference = registry.reference("app:one");
        let outcome = with_credentials(&home, &registry.host(), &password(), &["pull", &reference]);
        assert_eq!(outcome.status, 0, "{status}: {}", outcome.stderr);
        is_whole(&home, &image);
        assert!(storage.requests().len() >= 2, "{status}");
    }
}

#[test]
fn manifests_may_be_elsewhere_too() {
    // moby/moby#50065: a virtual registry that redirects everything.
    let image = small();
    let storage = Scripted::new(|request, _| {
        request
            .header("authorization")
            .map(|_| Response::status(400))
    })
    .with("app", "one", &image);
    let target = format!(
        "http://localhost:{}",
        storage.host().rsplit(':').next().unwrap()
    );
    let registry = Scripted::new(move |request, _| match request.header("authorization") {
        None => Some(unauthorized(&["Basic realm=\"x\""])),
        Some(_) if request.route() == "/v2/" => None,
        Some(_) => {
            Some(Response::status(302).header("Location", format!("{target}{}", request.path)))
        }
    });
    let home = Home::with_mirror("file:///nonexistent");
    let reference = registry.reference("app:one");
    with_credentials(&home, &registry.host(), &password(), &["pull", &reference]).succeeds();
    is_whole(&home, &image);
}

#[test]
fn redirections_end_and_keep_their_protection() {
    let image = small();
    // In a circle.
    let registry = Scripted::new(|request, _| {
        request
            .route()
            .contains("/blobs/")
            .then(|| Response::redirect(request.path.clone()))
    })
    .with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).fails(&["redirections"]);
    is_empty(&home);
    // From HTTPS to HTTP, and to other places that no registry needs.
    let certificate = Certificate::new();
    let blobs = image.blobs.clone();
    let storage = Server::new(move |request| {
        let digest = request.route().trim_start_matches('/');
        blobs
            .get(digest)
            .map_or_else(|| Response::status(404), |blob| Response::new(blob.clone()))
    });
    for target in [
        storage.url(),
        "file:///etc".to_owned(),
        "ftp://127.0.0.1".to_owned(),
    ] {
        let registry = Scripted::secure(&certificate, move |request, _| {
            let (_, digest) = request.route().split_once("/blobs/")?;
            Some(Response::redirect(format!("{target}/{digest}")))
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let authority = certificate.write(home.path());
        let reference = registry.reference("app:one");
        let args = [
            "pull",
            &reference,
            "--retries",
            "1",
            "--ca-cert",
            authority.to_str().unwrap(),
        ];
        home.run(args).fails(&[]);
        is_empty(&home);
    }
    assert!(
        storage.requests().is_empty(),
        "a blob was fetched without protection"
    );
}

#[test]
fn hosts_are_addresses_of_both_kinds() {
    // containers/image#1004, podman-container-tools/podman#3516.
    let image = small();
    let address = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    let registry = Scripted::on(address, |_, _| None).with("team/app", "one", &image);
    assert!(registry.host().starts_with("[::1]:"));
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("team/app:one")).succeeds();
    is_whole(&home, &image);
    let name = format!("{}@{}", registry.reference("team/app"), image.digest());
    pull(&home, &name).succeeds();
    // A port and no tag: the port is not the tag.
    let registry = Scripted::new(|_, _| None).with("app", "latest", &image);
    pull(&home, &registry.reference("app")).succeeds();
}
