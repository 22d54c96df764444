//! Corners where clients of registries failed in public. Each case names the report (`project#number`) that it comes from, and plays
//! the registry of that report.

mod blobs;
mod challenges;
mod layers;
mod lists;
mod manifests;
mod mirrors;
mod platforms;
mod tokens;
mod uploads;

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use box_tests::registry::{Image, Layer, PASSWORD, Scripted, USER};
use box_tests::server::{Request, Response};
use box_tests::{Home, Outcome};
use serde_json::{Value, json};

/// The image of most cases: one small layer.
fn small() -> Image {
    Image::new(&[Layer::of(&[("etc/hello", b"hello\n")])])
}

/// The flags of a pull that fails quickly.
const QUICK: [&str; 3] = ["--retries", "2", "--stall-timeout=2"];

fn pull(home: &Home, reference: &str) -> Outcome {
    pull_with(home, reference, &[])
}

fn pull_with(home: &Home, reference: &str, more: &[&str]) -> Outcome {
    let mut args = vec!["pull", reference];
    args.extend(QUICK);
    args.extend(more);
    home.run(args)
}

/// Runs box with a file of credentials: `entry` for `host`.
fn with_credentials(home: &Home, host: &str, entry: &Value, args: &[&str]) -> Outcome {
    let file = home.path().join("auth.json");
    fs::write(&file, json!({"auths": {host: entry}}).to_string()).unwrap();
    let mut command = home.command(args);
    command.env("REGISTRY_AUTH_FILE", file);
    Outcome::of(command, b"")
}

/// The name and the password of the tests' user, as files of credentials have them.
fn password() -> Value {
    json!({"auth": STANDARD.encode(format!("{USER}:{PASSWORD}"))})
}

/// The value of `Authorization` by which a server knows the tests' user.
fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

/// 401 with challenges.
fn unauthorized(challenges: &[&str]) -> Response {
    let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]});
    let mut response = Response::status(401);
    response.body = box_tests::server::Body::Bytes(body.to_string().into_bytes());
    for challenge in challenges {
        response = response.header("WWW-Authenticate", *challenge);
    }
    response
}

/// The address of the server that got a request.
fn origin(request: &Request) -> String {
    format!("http://{}", request.header("host").unwrap_or_default())
}

/// A registry that wants what `token` hands out at `/token` of the same server. `token` gets the request and the number of earlier
/// ones.
fn behind_tokens(
    token: impl Fn(&Request, usize) -> Response + Send + Sync + 'static,
    accepts: impl Fn(&Request) -> bool + Send + Sync + 'static,
) -> Scripted {
    Scripted::new(move |request, nth| {
        if request.route() == "/token" {
            return Some(token(request, nth));
        }
        if accepts(request) {
            return None;
        }
        let name = request.route().trim_start_matches("/v2/");
        let name = name.split("/manifests").next().unwrap_or_default();
        let name = name.split("/blobs").next().unwrap_or_default();
        let actions = match request.method.as_str() {
            "GET" | "HEAD" => "pull",
            _ => "pull,push",
        };
        let realm = format!("{}/token", origin(request));
        Some(unauthorized(&[&format!(
            "Bearer realm=\"{realm}\",service=\"tests\",scope=\"repository:{name}:{actions}\""
        )]))
    })
}

fn bearer(request: &Request) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

fn blob_path(home: &Home, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    home.cache().join("blobs/sha256").join(hex)
}

/// Asserts that the cache holds the image byte for byte, and the trees of its layers.
#[track_caller]
fn is_whole(home: &Home, image: &Image) {
    let document = fs::read(blob_path(home, &image.digest())).ok();
    assert_eq!(
        document.as_ref(),
        Some(&image.bytes),
        "the manifest is not kept"
    );
    let config = &image.blobs[&image.config_digest()];
    assert_eq!(
        fs::read(blob_path(home, &image.config_digest()))
            .ok()
            .as_ref(),
        Some(config)
    );
    let config: Value = serde_json::from_slice(config).unwrap();
    for diff_id in config["rootfs"]["diff_ids"].as_array().unwrap() {
        let hex = diff_id.as_str().unwrap().trim_start_matches("sha256:");
        assert!(
            home.root().join("layers").join(hex).is_dir(),
            "no tree of layer {diff_id}"
        );
    }
    home.run(["verify"]).succeeds();
}

/// Asserts that a failed pull left nothing that can be seen.
#[track_caller]
fn is_empty(home: &Home) {
    let images = home.run(["images", "--format", "json"]).succeeds();
    assert_eq!(images.text(), "[]");
    let layers = fs::read_dir(home.root().join("layers"))
        .into_iter()
        .flatten();
    let mut trees: Vec<_> = layers
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    trees.retain(|name| !name.starts_with('.'));
    assert_eq!(trees, Vec::<String>::new());
}
