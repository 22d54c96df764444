//! Signatures under every policy, and no fallback to unencrypted connections.

use std::fs;
use std::path::Path;

use box_tests::server::{Certificate, Files, Response, Server};
use box_tests::signer::Signer;
use box_tests::{Home, Mirror, Outcome};

use crate::release::{VERSION, bytes, hex, is_empty, is_whole, list, tarball};

/// A home that trusts a publisher, with a separate mirror on which the tarball has this signature.
pub struct Signed {
    pub home: Home,
    pub publisher: Signer,
}

impl Signed {
    pub fn new(signature: impl FnOnce(&Signer) -> Option<String>) -> Self {
        let publisher = Signer::new();
        let mut home = Home::new();
        publisher.trust_in(&home.path().join("config/trusted-keys"));
        let mirror = Mirror::get().copy_to(home.path());
        if let Some(text) = signature(&publisher) {
            fs::write(beside(&mirror), text).unwrap();
        }
        home.set_mirror(&mirror.url());
        Self { home, publisher }
    }

    pub fn pull(&self, policy: &str) -> Outcome {
        self.home.run(["pull", "alpine:3.20", "--verify", policy])
    }

    /// How the image was verified, as shown by `box images`.
    fn verified(&self) -> serde_json::Value {
        self.home
            .run(["images", "--format", "json"])
            .succeeds()
            .json()[0]["verified"]
            .clone()
    }
}

fn beside(mirror: &Mirror) -> std::path::PathBuf {
    let tarball = mirror.tarball(VERSION);
    tarball.with_file_name(format!(
        "{}.asc",
        tarball.file_name().unwrap().to_str().unwrap()
    ))
}

#[test]
fn a_good_signature_is_checked_and_remembered() {
    for policy in ["prefer", "require"] {
        let signed = Signed::new(|publisher| Some(publisher.sign(&bytes())));
        let outcome = signed.pull(policy).succeeds();
        let fingerprint = signed.publisher.fingerprint();
        assert!(outcome.text().contains(&fingerprint), "{}", outcome.text());
        assert_eq!(signed.verified()["fingerprint"], fingerprint);
        is_whole(&signed.home);
    }
}

#[test]
fn a_signature_is_not_looked_at_where_that_was_asked_for() {
    let signed = Signed::new(|publisher| Some(publisher.sign(b"something else")));
    signed.pull("off").succeeds();
    assert_eq!(signed.verified()["by"], "checksum");
}

#[test]
fn a_wrong_signature_is_fatal_wherever_it_is_looked_at() {
    let others: [fn(&Signer) -> String; 4] = [
        |publisher| publisher.sign(b"something else"),
        |_| Signer::new().sign(&bytes()),
        |_| "-----BEGIN PGP SIGNATURE-----\n\njunk\n-----END PGP SIGNATURE-----\n".to_owned(),
        |_| "<html>not here</html>".to_owned(),
    ];
    for other in others {
        for policy in ["prefer", "require"] {
            let signed = Signed::new(|publisher| Some(other(publisher)));
            signed
                .pull(policy)
                .fails(&["cannot accept the signature", ".tar.gz.asc"]);
            is_empty(&signed.home);
        }
    }
}

#[test]
fn a_missing_signature_is_said_or_fatal() {
    let signed = Signed::new(|_| None);
    signed
        .pull("require")
        .fails(&["is not signed (yet)", ".tar.gz.asc: not found"]);
    is_empty(&signed.home);
    let outcome = signed.pull("prefer").succeeds();
    assert!(
        outcome.stderr.contains("is not signed (yet)"),
        "{}",
        outcome.stderr
    );
    assert_eq!(signed.verified()["by"], "checksum");
}

#[test]
fn a_signature_that_comes_later_is_taken_on_demand() {
    let signed = Signed::new(|_| None);
    signed.pull("prefer").succeeds();
    let mirror = signed.home.path().join("mirror");
    signed.pull("require").fails(&["is not signed (yet)"]);
    sign_in(&mirror, &signed.publisher);
    signed.pull("require").succeeds();
    assert_eq!(
        signed.verified()["fingerprint"],
        signed.publisher.fingerprint()
    );
}

fn sign_in(mirror: &Path, publisher: &Signer) {
    let dir = mirror.join(format!("v3.20/releases/{}", std::env::consts::ARCH));
    let name = format!(
        "alpine-minirootfs-{VERSION}-{}.tar.gz.asc",
        std::env::consts::ARCH
    );
    fs::write(dir.join(name), publisher.sign(&bytes())).unwrap();
}

#[test]
fn a_server_that_cannot_serve_the_signature_does_not_make_it_missing() {
    let path = tarball() + ".asc";
    let server =
        Server::scripted(move |request, _| (request.path == path).then(|| Response::status(500)));
    let home = Home::with_mirror(&server.url());
    home.run(["pull", "alpine:3.20", "--retries", "0"])
        .fails(&[".tar.gz.asc", "500"]);
    is_empty(&home);
}

#[test]
fn a_key_file_that_is_none_is_named() {
    let home = Home::new();
    let keys = home.path().join("config/trusted-keys");
    fs::create_dir_all(&keys).unwrap();
    fs::write(keys.join("bad.asc"), "nothing").unwrap();
    home.run(["pull", "alpine:3.20"])
        .fails(&["bad.asc", "cannot use the keys in "]);
}

#[test]
fn an_authority_of_ones_own_is_trusted_when_told_so() {
    let certificate = Certificate::new();
    let files = Files::new(Mirror::get().dir());
    let server = Server::secure(&certificate, move |request| files.answer(request));
    let home = Home::with_mirror(&server.url());
    let authority = certificate.write(home.path());
    let mut command = home.command(["pull", "alpine:3.20"]);
    command.env_remove("SSL_CERT_FILE");
    Outcome::of(command, b"").fails(&["TLS failed", "certificate", &server.url()]);
    is_empty(&home);
    home.run([
        "pull",
        "alpine:3.20",
        "--ca-cert",
        authority.to_str().unwrap(),
    ])
    .succeeds();
    is_whole(&home);
    let mut command = home.command(["pull", "alpine"]);
    command.env("SSL_CERT_FILE", &authority);
    Outcome::of(command, b"").succeeds();
    home.run(["pull", "alpine", "--ca-cert", "/dev/null"])
        .fails(&["/dev/null", "cannot use the certificates in "]);
}

#[test]
fn encryption_is_not_given_up_on_the_way() {
    let plain = Server::mirror();
    let certificate = Certificate::new();
    let files = Files::new(Mirror::get().dir());
    let target = plain.url();
    let server = Server::secure(&certificate, move |request| match request.path == list() {
        true => files.answer(request),
        false => Response::redirect(format!("{target}{}", request.path)),
    });
    let home = Home::with_mirror(&server.url());
    let authority = certificate.write(home.path());
    home.run([
        "pull",
        "alpine:3.20",
        "--verify",
        "off",
        "--ca-cert",
        authority.to_str().unwrap(),
    ])
    .fails(&["refusing a redirection from https to http://"]);
    is_empty(&home);
    assert!(plain.requests().is_empty());
}

#[test]
fn a_signature_that_comes_later_is_checked_without_fetching_the_file_again() {
    let publisher = Signer::new();
    let mut home = Home::new();
    publisher.trust_in(&home.path().join("config/trusted-keys"));
    let mirror = Mirror::get().copy_to(home.path());
    let server = Server::files(mirror.dir());
    home.set_mirror(&server.url());
    let verified = |home: &Home| {
        let images = home.run(["images", "--format", "json"]).succeeds().json();
        images[0]["verified"].clone()
    };
    home.run(["pull", "alpine:3.20"]).succeeds();
    assert_eq!(verified(&home)["by"], "checksum");
    let unchanged = home.run(["pull", "alpine:3.20"]).succeeds();
    assert!(
        unchanged.text().contains("unchanged"),
        "{}",
        unchanged.text()
    );

    fs::write(beside(&mirror), publisher.sign(b"something else")).unwrap();
    home.run(["pull", "alpine:3.20"]).fails(&["signature"]);
    assert_eq!(verified(&home)["by"], "checksum");

    fs::write(beside(&mirror), publisher.sign(&bytes())).unwrap();
    let signed = home.run(["pull", "alpine:3.20"]).succeeds();
    assert!(
        signed.text().contains("nothing downloaded"),
        "{}",
        signed.text()
    );
    assert_eq!(verified(&home)["fingerprint"], publisher.fingerprint());
    is_whole(&home);
    home.run(["pull", "alpine:3.20", "--verify", "require"])
        .succeeds();
    let fetched = server
        .paths()
        .iter()
        .filter(|path| **path == tarball())
        .count();
    assert_eq!(fetched, 1, "{:?}", server.paths());
}

#[test]
fn a_digest_alone_is_looked_for_in_every_branch() {
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    let older = hex(&fs::read(Mirror::get().tarball("3.18.9")).unwrap());
    let reference = format!("alpine@sha256:{older}");
    home.run(["pull", &reference]).succeeds();
    let release = [
        "run",
        "--rm",
        "--offline",
        &reference,
        "cat",
        "/etc/alpine-release",
    ];
    assert_eq!(home.run(release).succeeds().text(), "3.18.9");
    // A cached image is not requested again, and the tag does not refer to it.
    let asked = server.requests().len();
    home.run(["pull", &reference]).succeeds();
    assert_eq!(server.requests().len(), asked);
    home.run(["run", "--rm", "--offline", "alpine", "true"])
        .fails(&["alpine:latest"]);
    let nowhere = format!("alpine@sha256:{}", "1".repeat(64));
    home.run(["pull", &nowhere])
        .fails(&["1111", "no tarball listed in v3.20, v3.18"]);
}
