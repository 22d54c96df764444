//! Token servers, each with its own idea of the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use box_tests::Home;
use box_tests::registry::{Image, Layer, Registry, Scripted, TokenServer};
use box_tests::server::{Request, Response, Server};
use serde_json::json;

use super::{
    basic, bearer, behind_tokens, is_whole, origin, password, pull, small, unauthorized,
    with_credentials,
};

fn answers(body: &'static str) -> Scripted {
    behind_tokens(
        move |_, _| Response::new(body),
        |request| bearer(request) == Some("t"),
    )
}

#[test]
fn every_form_of_an_answer_is_understood() {
    for (report, body) in [
        (
            "containerd/containerd#2157",
            r#"{"token":"t","expires_in":300}"#,
        ),
        (
            "cesanta/docker_auth#272",
            r#"{"access_token":"t","expires_in":300}"#,
        ),
        (
            "containerd/containerd#3795",
            r#"{"token":"t","access_token":"t"}"#,
        ),
        ("distribution/distribution#979", r#"{"token":"t"}"#),
        (
            "distribution/distribution#979",
            r#"{"token":"t","expires_in":5,"issued_at":"2015-09-12T00:00:00Z"}"#,
        ),
        (
            "goharbor/harbor#2411",
            r#"{"token":"t","expires_in":0,"issued_at":"never"}"#,
        ),
    ] {
        let image = small();
        let registry = answers(body).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull(&home, &registry.reference("app:one"));
        assert_eq!(outcome.status, 0, "{report} {body}: {}", outcome.stderr);
        is_whole(&home, &image);
        // A missing or short lifetime is 60 seconds: not a token for every request (one scope, one token).
        assert_eq!(registry.asked("GET", "/token").len(), 1, "{report} {body}");
    }
}

#[test]
fn an_answer_without_a_token_is_an_error() {
    for body in [
        r#"{}"#,
        r#"{"token":""}"#,
        r#"{"token":null}"#,
        "<!DOCTYPE html>",
        "[]",
        "{\"token\":\"a\\nb\"}",
    ] {
        let registry = answers(body).with("app", "one", &small());
        let home = Home::with_mirror("file:///nonexistent");
        pull(&home, &registry.reference("app:one")).fails(&[]);
        assert!(registry.requests().len() < 10);
    }
}

#[test]
fn a_token_that_is_refused_is_asked_for_once_more_and_not_for_ever() {
    let registry = behind_tokens(|_, _| Response::new(r#"{"token":"t"}"#), |_| false).with(
        "app",
        "one",
        &small(),
    );
    let home = Home::with_mirror("file:///nonexistent");
    let outcome = pull(&home, &registry.reference("app:one")).exits(125);
    assert!(
        registry.asked("GET", "/token").len() <= 4,
        "{}",
        registry.requests().len()
    );
    assert!(!outcome.stderr.contains("401"), "{}", outcome.stderr);
}

#[test]
fn where_get_is_refused_the_form_is_posted_and_the_reverse() {
    // Which methods the token server knows, and how it refuses the other.
    let cases: &[(&str, &str, u16, &str)] = &[
        ("moby/buildkit#3117", "POST", 405, ""),
        ("containerd/containerd#8630", "GET", 405, ""),
        ("containerd/containerd#5469", "GET", 400, ""),
        ("containerd/containerd#12822", "GET", 404, "<!DOCTYPE html>"),
        ("Katello/katello#11389", "GET", 415, ""),
        ("containerd/containerd#4983", "GET", 403, ""),
    ];
    for (report, method, status, body) in cases {
        let registry = behind_tokens(
            move |request, _| {
                if request.method != *method {
                    let mut response = Response::status(*status);
                    response.body = box_tests::server::Body::Bytes(body.as_bytes().to_vec());
                    return response;
                }
                let known = match request.method.as_str() {
                    "GET" => request.header("authorization") == Some(&basic()),
                    _ => {
                        request.parameter("password").as_deref()
                            == Some(box_tests::registry::PASSWORD)
                    }
                };
                match known {
                    true => Response::new(r#"{"token":"t","access_token":"t"}"#),
                    false => Response::status(401),
                }
            },
            |request| bearer(request) == Some("t"),
        );
        let image = small();
        let registry = registry.with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let reference = registry.reference("app:one");
        let outcome = with_credentials(&home, &registry.host(), &password(), &["pull", &reference]);
        assert_eq!(outcome.status, 0, "{report}: {}", outcome.stderr);
    }
}

#[test]
fn an_identity_token_is_posted() {
    // docker's `identitytoken`, which Azure's and Docker's own registries hand out at a login.
    let tokens = TokenServer::new();
    let registry = Registry::with_tokens(&tokens);
    let image = small();
    registry.put("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let reference = registry.reference("app:one");
    let entry = json!({"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": TokenServer::REFRESH});
    with_credentials(&home, registry.host(), &entry, &["pull", &reference]).succeeds();
    is_whole(&home, &image);
    let asked = tokens.requests();
    let post = asked
        .iter()
        .find(|request| request.method == "POST")
        .unwrap();
    assert_eq!(
        post.parameter("grant_type").as_deref(),
        Some("refresh_token")
    );
    assert_eq!(post.parameters("scope"), ["repository:app:pull"]);
    assert_eq!(
        post.parameter("service").as_deref(),
        Some(TokenServer::SERVICE)
    );
    assert!(post.parameter("client_id").is_some());
}

#[test]
fn a_token_server_gets_the_scope_and_the_service_as_they_were_said() {
    let tokens = TokenServer::new();
    let registry = Registry::with_tokens(&tokens);
    registry.put("deep/er/app", "one", &small());
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("deep/er/app:one")).succeeds();
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1, "one scope, one token");
    assert_eq!(
        asked[0].parameters("scope"),
        ["repository:deep/er/app:pull"]
    );
    assert_eq!(
        asked[0].parameter("service").as_deref(),
        Some(TokenServer::SERVICE)
    );
    assert_eq!(asked[0].header("authorization"), None);
}

/// Tokens that are valid for a while, by the server's clock.
fn short_lived(
    lifetime: Duration,
) -> (
    impl Fn(&Request, usize) -> Response,
    impl Fn(&Request) -> bool,
) {
    let start = Instant::now();
    let token = move |_: &Request, _| {
        let until = start.elapsed() + lifetime;
        Response::new(
            json!({"token": format!("{}", until.as_millis()), "expires_in": lifetime.as_secs()})
                .to_string(),
        )
    };
    let accepts = move |request: &Request| {
        let until = bearer(request).and_then(|token| token.parse::<u128>().ok());
        until.is_some_and(|until| start.elapsed().as_millis() < until)
    };
    (token, accepts)
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_transfer_is_renewed() {
    // podman-container-tools/podman#18142: 50 MB at a trickle, a token of 5 seconds, and a connection that breaks.
    let layer = Layer::random("big", 1, 50_000_000);
    let image = Image::new(&[Layer::of(&[("a", b"a")]), layer.clone()]);
    let digest = layer.digest();
    let blob = layer.blob.clone();
    // The blob comes at 8 MB a second; the first time it breaks off when the token has ended.
    let (token, accepts) = short_lived(Duration::from_secs(5));
    let registry = Scripted::new(move |request, nth| {
        if request.route() == "/token" {
            return Some(token(request, nth));
        }
        if !accepts(request) {
            let realm = format!("{}/token", origin(request));
            return Some(unauthorized(&[&format!(
                "Bearer realm=\"{realm}\",scope=\"repository:app:pull\""
            )]));
        }
        if !request.route().ends_with(&digest) || request.method != "GET" {
            return None;
        }
        let from = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes="));
        let from: usize = from.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        let rest = blob[from..].to_vec();
        let response = match from {
            0 => Response::new(rest).drop_after(46_000_000),
            from => {
                let mut response = Response::status(206).header(
                    "Content-Range",
                    format!("bytes {from}-{}/{}", blob.len() - 1, blob.len()),
                );
                response.body = box_tests::server::Body::Bytes(rest);
                response
            }
        };
        Some(response.throttled(8_000_000))
    })
    .with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    home.run(["pull", &registry.reference("app:one"), "--retries", "3"])
        .succeeds();
    is_whole(&home, &image);
    let asked = registry.asked("GET", &layer.digest());
    let ranges = asked
        .iter()
        .filter(|r| r.header("range").is_some() && bearer(r).is_some())
        .count();
    assert!(ranges >= 1, "the transfer was continued, not begun again");
    assert!(registry.asked("GET", "/token").len() >= 2);
}

#[test]
fn many_blobs_ask_for_one_token() {
    let layers: Vec<_> = (0..8)
        .map(|n| Layer::random(&format!("f{n}"), n, 20_000))
        .collect();
    let image = Image::new(&layers);
    let count = Arc::new(AtomicUsize::new(0));
    let registry = behind_tokens(
        {
            let count = Arc::clone(&count);
            move |_, _| {
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(200));
                Response::new(r#"{"token":"t","expires_in":300}"#)
            }
        },
        |request| bearer(request) == Some("t"),
    )
    .with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn credentials_do_not_follow_a_token_server_that_points_elsewhere() {
    // google/go-containerregistry#2193 and golang/vulndb#6092.
    let thief = Server::new(|_| Response::new(r#"{"token":"t"}"#));
    let elsewhere = format!("http://localhost:{}/token", thief.address().port());
    let registry = behind_tokens(
        move |_, _| Response::status(307).header("Location", elsewhere.clone()),
        |request| bearer(request) == Some("t"),
    )
    .with("app", "one", &small());
    let home = Home::with_mirror("file:///nonexistent");
    let reference = registry.reference("app:one");
    let outcome = with_credentials(&home, &registry.host(), &password(), &["pull", &reference]);
    for request in thief.requests() {
        assert_eq!(request.header("authorization"), None, "{}", outcome.stderr);
        assert!(!String::from_utf8_lossy(&request.body).contains("sesame"));
    }
    // A form with the password is not sent on, either.
    let elsewhere = format!("http://localhost:{}/token", thief.address().port());
    let registry = behind_tokens(
        move |request, _| match request.method.as_str() {
            "POST" => Response::status(307).header("Location", elsewhere.clone()),
            _ => Response::status(405),
        },
        |request| bearer(request) == Some("t"),
    )
    .with("app", "one", &small());
    let reference = registry.reference("app:one");
    with_credentials(&home, &registry.host(), &password(), &["pull", &reference]);
    for request in thief.requests() {
        assert!(!String::from_utf8_lossy(&request.body).contains("sesame"));
    }
}

#[test]
fn a_realm_in_a_private_network_gets_no_credentials() {
    // GoogleContainerTools/jib#4523: the address of the cloud's metadata, and others that only this machine reaches.
    for realm in [
        "http://169.254.169.254/token",
        "http://10.255.255.1/token",
        "http://[fe80::1]/token",
        "http://user@127.0.0.1:1/token",
        "ftp://127.0.0.1/token",
    ] {
        let registry = Scripted::new(move |request, _| {
            let open = request.header("authorization").is_some();
            (!open).then(|| unauthorized(&[&format!("Bearer realm=\"{realm}\",service=\"s\"")]))
        })
        .with("app", "one", &small());
        let home = Home::with_mirror("file:///nonexistent");
        let reference = registry.reference("app:one");
        let args = ["pull", &reference, "--retries", "1"];
        let outcome = with_credentials(&home, &registry.host(), &password(), &args).exits(125);
        assert!(!outcome.stderr.contains("sesame"), "{}", outcome.stderr);
        let sent = registry
            .requests()
            .iter()
            .any(|r| r.header("authorization").is_some());
        assert!(!sent, "{realm}: something was sent as a token");
    }
}

#[test]
fn a_token_ends_between_the_manifest_and_the_blobs() {
    // docker/buildx#324, for a pull: what was valid for the manifest is not for the blobs.
    let uses = Arc::new(AtomicU64::new(0));
    let registry = behind_tokens(
        |_, nth| Response::new(format!(r#"{{"token":"{nth}","expires_in":300}}"#)),
        {
            let uses = Arc::clone(&uses);
            move |request| match bearer(request) {
                Some("0") => uses.fetch_add(1, Ordering::SeqCst) < 2,
                Some(_) => true,
                None => false,
            }
        },
    );
    let image = small();
    let registry = registry.with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    is_whole(&home, &image);
}
