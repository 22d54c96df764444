//! The registries of the tests serve what was put into them, to another program than box.

use std::process::Command;

use box_tests::Outcome;
use box_tests::registry::{Image, Layer, PASSWORD, Registry, Scripted, TokenServer, USER};
use box_tests::server::Certificate;
use serde_json::json;

/// skopeo, without the settings of this machine.
fn skopeo(args: &[&str]) -> Outcome {
    let mut command = Command::new("skopeo");
    command
        .args(["--insecure-policy", "--override-os=linux"])
        .args(args);
    command.env("REGISTRY_AUTH_FILE", "/nonexistent/auth.json");
    Outcome::of(command, b"")
}

/// Copies an image in and out again with skopeo; the digest stays.
fn round_trip(host: &str, flags: &[&str]) {
    let image = Image::new(&[Layer::of(&[("etc/hello", b"hello\n")])]);
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    image.write_layout(&layout, "one");
    let from = format!("oci:{}:one", layout.display());
    let to = format!("docker://{host}/team/app:one");
    skopeo(&[&["copy", "-q", &from, &to], flags].concat()).succeeds();
    let inspect: Vec<_> = flags
        .iter()
        .map(|flag| flag.replace("--dest-", "--"))
        .collect();
    let mut args = vec!["inspect", to.as_str()];
    args.extend(inspect.iter().map(String::as_str));
    let found = skopeo(&args).succeeds().json();
    assert_eq!(found["Digest"], json!(image.digest()));
}

#[test]
fn every_kind_of_registry_takes_an_image_and_serves_it() {
    let credentials = format!("{USER}:{PASSWORD}");
    let insecure = "--dest-tls-verify=false";
    let creds = ["--dest-creds", &credentials].join("=");
    round_trip(Registry::new().host(), &[insecure]);
    round_trip(Registry::with_password().host(), &[insecure, &creds]);
    let certificate = Certificate::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(certificate.write(dir.path()), dir.path().join("ca.crt")).unwrap();
    let authority = format!("--dest-cert-dir={}", dir.path().display());
    round_trip(Registry::secure(&certificate).host(), &[&authority]);
    round_trip(
        Registry::secure_with_password(&certificate).host(),
        &[&authority, &creds],
    );
    let tokens = TokenServer::new();
    round_trip(Registry::with_tokens(&tokens).host(), &[insecure, &creds]);
    assert!(
        tokens
            .requests()
            .iter()
            .any(|request| { request.parameters("scope") == ["repository:team/app:pull,push"] })
    );
    let scripted = Scripted::new(|_, _| None);
    round_trip(&scripted.host(), &[insecure]);
}

#[test]
fn a_registry_without_the_right_password_refuses() {
    let registry = Registry::with_password();
    registry.put("app", "one", &Image::alpine(1));
    let reference = format!("docker://{}", registry.reference("app:one"));
    let args = [
        "inspect",
        "--tls-verify=false",
        "--creds=alice:wrong",
        &reference,
    ];
    assert_ne!(skopeo(&args).status, 0);
    let tokens = TokenServer::new();
    let registry = Registry::with_tokens(&tokens);
    let reference = format!("docker://{}", registry.reference("app:one"));
    assert_ne!(
        skopeo(&["inspect", "--tls-verify=false", &reference]).status,
        0
    );
}

#[test]
fn what_was_put_into_the_storage_is_served() {
    let arm = Image::for_platform(
        &[Layer::of(&[("a", b"a")])],
        json!({"os": "linux", "architecture": "arm", "variant": "v7"}),
    );
    let image = Image::index(&[Image::alpine(2), arm, Image::attestation()]);
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    registry.put("deep/er/app", "all", &image);
    assert_eq!(registry.missing("deep/er/app", "all"), [""; 0]);
    assert_ne!(registry.missing("deep/er/app", "none"), [""; 0]);
    let from = format!("docker://{}", registry.reference("deep/er/app:all"));
    let to = format!("oci:{}:all", dir.path().join("out").display());
    skopeo(&["copy", "-q", "--all", "--src-tls-verify=false", &from, &to]).succeeds();
    assert_eq!(
        registry.manifest("deep/er/app", "all"),
        Some(image.bytes.clone())
    );
    assert!(registry.count("GET /v2/deep/er/app/manifests/") >= 1);
    let scripted = Scripted::new(|_, _| None).with("app", "all", &image.docker());
    let from = format!("docker://{}", scripted.reference("app:all"));
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &from]).succeeds();
    assert_eq!(
        Some(raw.stdout),
        scripted.store().manifest("app", "all").map(|m| m.1)
    );
    assert!(!scripted.asked("GET", "/manifests/all").is_empty());
}
