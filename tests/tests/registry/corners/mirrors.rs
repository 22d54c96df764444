//! Mirrors that fail, truncate and lie: the next host, and one line that warns.

use std::fs;

use box_tests::registry::{Image, Layer, Registry, Scripted, document};
use box_tests::server::{Body, Response};
use box_tests::{Home, Outcome};

use super::{QUICK, basic, is_whole, small};

/// Pulls `app:one` of a registry that has these mirrors.
fn pull_by_mirrors(home: &Home, registry: &str, mirrors: &[String], auth: Option<&str>) -> Outcome {
    let mut text = format!("[[registry]]\nlocation = \"{registry}\"\n");
    for mirror in mirrors {
        text.push_str(&format!(
            "[[registry.mirror]]\nlocation = \"{mirror}\"\ninsecure = true\n"
        ));
    }
    let file = home.path().join("registries.conf");
    fs::write(&file, text).unwrap();
    let mut command = home.command(["pull", &format!("{registry}/app:one")]);
    command.args(QUICK).env("CONTAINERS_REGISTRIES_CONF", file);
    if let Some(auth) = auth {
        let path = home.path().join("auth.json");
        fs::write(&path, auth).unwrap();
        command.env("REGISTRY_AUTH_FILE", path);
    }
    Outcome::of(command, b"")
}

/// The lines that say that one place is given up for another one.
fn outages(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stderr.lines();
    lines.filter(|line| line.contains("; trying ")).collect()
}

fn image() -> Image {
    Image::new(&[Layer::of(&[("a", b"a")]), Layer::random("big", 11, 400_000)])
}

#[test]
fn a_mirror_that_fails_is_left_with_one_warning() {
    type Fault = fn(&str, &str) -> Option<Response>;
    // By method and path.
    let cases: &[(&str, Fault)] = &[
        ("containerd/containerd#4531", |_, _| {
            Some(Response::status(503))
        }),
        ("cybozu-go/neco#1409", |_, _| Some(Response::status(500))),
        ("containerd/cri#1419", |_, _| Some(Response::status(404))),
        ("spegel-org/spegel#12", |_, path| {
            path.contains("/blobs/").then(|| Response::status(404))
        }),
        ("cri-o/cri-o#5450", |_, path| {
            path.contains("/blobs/")
                .then(|| Response::with(200, Body::Zeros(400_000)).drop_after(1000))
        }),
        ("goharbor/harbor#23911", |_, path| {
            path.contains("/blobs/")
                .then(|| Response::new("<!DOCTYPE html>").header("Content-Type", "text/html"))
        }),
        ("distribution/distribution#2952", |_, path| {
            path.contains("/blobs/")
                .then(|| Response::new("other bytes"))
        }),
        ("alphagov/govuk-cdn-config#167", |_, path| {
            path.contains("/manifests/")
                .then(|| document("text/html", b"<!DOCTYPE html>"))
        }),
        ("buildbuddy-io/buildbuddy#8301", |_, _| {
            Some(Response::status(403))
        }),
        ("spegel-org/spegel#12", |_, _| {
            Some(Response::status(401).header("WWW-Authenticate", "Basic realm=\"x\""))
        }),
    ];
    for (report, fault) in cases {
        let image = image();
        let fault = *fault;
        let mirror = Scripted::new(move |request, _| fault(&request.method, request.route()))
            .with("app", "one", &image);
        let registry = Registry::new();
        registry.put("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull_by_mirrors(&home, registry.host(), &[mirror.host()], None);
        assert_eq!(outcome.status, 0, "{report}: {}", outcome.stderr);
        is_whole(&home, &image);
        let told = outages(&outcome);
        assert_eq!(told.len(), 1, "{report}: {}", outcome.stderr);
        assert!(told[0].contains(&mirror.host()), "{report}: {}", told[0]);
        assert!(
            !mirror.requests().is_empty(),
            "{report}: the mirror was not asked"
        );
    }
}

#[test]
fn a_mirror_that_is_not_there_is_left_with_one_warning() {
    let image = image();
    let registry = Registry::new();
    registry.put("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let mirrors = ["127.0.0.1:1".to_owned()];
    let outcome = pull_by_mirrors(&home, registry.host(), &mirrors, None).succeeds();
    is_whole(&home, &image);
    assert_eq!(outages(&outcome).len(), 1, "{}", outcome.stderr);
}

#[test]
fn a_good_mirror_serves_everything_and_nobody_is_warned() {
    let image = image();
    let mirror = Scripted::new(|_, _| None).with("app", "one", &image);
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let outcome = pull_by_mirrors(&home, &registry.host(), &[mirror.host()], None).succeeds();
    is_whole(&home, &image);
    assert_eq!(outages(&outcome), [""; 0]);
    assert!(registry.requests().is_empty(), "{:?}", registry.requests());
}

#[test]
fn a_mirror_does_not_get_the_credentials_of_the_registry() {
    let image = small();
    let mirror = Scripted::new(|request, _| {
        request
            .header("authorization")
            .is_none()
            .then(|| Response::status(401).header("WWW-Authenticate", "Basic realm=\"x\""))
    });
    let registry = Scripted::new(|request, _| {
        (request.header("authorization") != Some(&basic()))
            .then(|| super::unauthorized(&["Basic realm=\"x\""]))
    })
    .with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let auth = serde_json::json!({"auths": {registry.host(): super::password()}}).to_string();
    pull_by_mirrors(&home, &registry.host(), &[mirror.host()], Some(&auth)).succeeds();
    is_whole(&home, &image);
    for request in mirror.requests() {
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn alpines_mirrors_are_left_with_one_warning_too() {
    let broken = box_tests::server::Server::new(|_| Response::status(503));
    let good = box_tests::server::Server::mirror();
    let home = Home::with_mirror(&format!("{},{}", broken.url(), good.url()));
    let outcome = home
        .run(["pull", "alpine:3.20", "--retries", "1"])
        .succeeds();
    let told = outages(&outcome);
    assert_eq!(told.len(), 1, "{}", outcome.stderr);
}
