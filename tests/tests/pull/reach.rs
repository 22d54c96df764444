//! Proxies, passwords, networks and architectures.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Mutex, mpsc};

use box_tests::process::{status, with_few_descriptors};
use box_tests::server::{Certificate, Files, Http2Server, Request, Response, Server};
use box_tests::{Home, Mirror, Outcome};

use crate::release::{is_whole, list};

fn mirror_files(request: &Request) -> Response {
    Files::new(Mirror::get().dir()).answer(request)
}

#[test]
fn a_proxy_of_the_environment_is_used_and_left_out_where_told() {
    let proxy = Server::new(|request| {
        let path = request
            .path
            .strip_prefix("http://mirror.invalid")
            .unwrap_or("/nowhere");
        mirror_files(&Request {
            path: path.to_owned(),
            ..request.clone()
        })
    });
    let home = Home::with_mirror("http://mirror.invalid");
    for name in ["http_proxy", "all_proxy"] {
        let mut command = home.command(["pull", "alpine:3.20"]);
        command.env(name, proxy.url());
        Outcome::of(command, b"").succeeds();
        is_whole(&home);
        assert!(
            proxy
                .paths()
                .contains(&format!("http://mirror.invalid{}", list()))
        );
        home.run(["rmi", "alpine:3.20"]).succeeds();
    }
    let mut command = home.command(["pull", "alpine:3.20"]);
    command
        .env("http_proxy", proxy.url())
        .env("no_proxy", "mirror.invalid");
    Outcome::of(command, b"").fails(&["http://mirror.invalid/", "cannot connect"]);
    let mut command = home.command(["pull", "alpine:3.20"]);
    command.env("http_proxy", "http://user:secret@:x");
    let failed = Outcome::of(command, b"").fails(&["proxy"]);
    assert!(!failed.stderr.contains("secret"), "{}", failed.stderr);
}

#[test]
fn a_private_mirror_gets_the_password_and_nobody_else_sees_it() {
    // Basic authentication of me:s3cret, RFC 7617.
    let private = |request: &Request| match request.header("authorization") {
        Some("Basic bWU6czNjcmV0") => mirror_files(request),
        _ => Response::status(401),
    };
    let server = Server::new(private);
    let home = Home::with_mirror(&server.url());
    home.run(["pull", "alpine:3.20"])
        .fails(&["401 Unauthorized"]);
    let netrc = home.path().join("netrc");
    fs::write(&netrc, "machine 127.0.0.1 login me password s3cret\n").unwrap();
    let mut command = home.command(["pull", "alpine:3.20"]);
    command.env("NETRC", &netrc);
    Outcome::of(command, b"").succeeds();
    is_whole(&home);

    let url = server.url().replace("http://", "http://me:s3cret@");
    let mut home = Home::with_mirror(&url);
    let outcome = home.run(["--debug", "pull", "alpine:3.20"]).succeeds();
    let inspected = home.run(["inspect", "alpine:3.20"]).succeeds();
    let index = fs::read_to_string(home.cache().join("index.json")).unwrap();
    for text in [outcome.stderr.as_str(), inspected.text(), &index] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    // A redirection does not take the password along.
    let other = Server::mirror();
    let target = other.url();
    let server =
        Server::new(move |request| Response::redirect(format!("{target}{}", request.path)));
    home.set_mirror(&server.url().replace("http://", "http://me:s3cret@"));
    home.run(["pull", "alpine:3.18"]).succeeds();
    assert!(
        other
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
}

#[test]
fn ipv6_addresses_are_reached() {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let server = Server::on(address, mirror_files);
    let home = Home::with_mirror(&server.url());
    assert!(server.url().starts_with("http://[::1]:"));
    home.run(["pull", "alpine:3.20"]).succeeds();
    is_whole(&home);
}

#[test]
fn architectures_of_one_reference_live_side_by_side() {
    let home = Home::new();
    home.run(["pull", "alpine:3.20", "--arch", "x86_64"])
        .succeeds();
    home.run(["pull", "alpine:3.20", "--arch", "arm64"])
        .succeeds();
    let images = home.run(["images", "--format", "json"]).succeeds().json();
    let platforms: Vec<_> = images
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["platform"].as_str().unwrap())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    home.run(["pull", "alpine:3.20", "--arch", "riscv64"])
        .fails(&["riscv64", "architectures of v3.20: aarch64, x86_64"]);
    home.run(["pull", "alpine:3.20", "--arch", "sparc"])
        .exits(125);
}

#[test]
fn a_mirror_is_listed_with_what_is_cached_marked() {
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    home.run(["pull", "alpine:3.20"]).succeeds();
    let rows = home
        .run(["list-remote", "alpine", "--format", "json"])
        .succeeds()
        .json();
    let row = |version: &str| {
        let rows = rows.as_array().unwrap();
        rows.iter()
            .find(|row| row["version"] == version)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (&row("3.20.3")["branch"], &row("3.20.3")["cached"]),
        (&"v3.20".into(), &true.into())
    );
    assert_eq!(
        (&row("3.18.9")["branch"], &row("3.18.9")["cached"]),
        (&"v3.18".into(), &false.into())
    );
    home.run(["list-remote", "debian"]).fails(&["debian"]);
}

#[test]
fn a_dry_run_says_what_would_be_fetched_and_fetches_nothing() {
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    let plan = home
        .run(["pull", "--dry-run", "alpine:3.20", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(plan["size"], crate::release::size());
    assert_eq!(plan["version"], "3.20.3");
    assert_eq!(plan["url"], server.url() + &crate::release::tarball());
    assert_eq!(
        (&plan["cached"], &plan["changed"]),
        (&false.into(), &true.into())
    );
    assert_eq!(server.paths(), [list()]);
    home.run(["pull", "alpine:3.20"]).succeeds();
    let plan = home
        .run(["pull", "--dry-run", "alpine:3.20", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(
        (&plan["cached"], &plan["changed"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn http2_is_agreed_upon_with_a_server_that_speaks_it() {
    let certificate = Certificate::new();
    let server = Http2Server::files(&certificate, Mirror::get().dir());
    let home = Home::with_mirror(&server.url());
    let authority = certificate.write(home.path());
    let authority = authority.to_str().unwrap();
    home.run(["pull", "alpine:3.20", "--ca-cert", authority])
        .succeeds();
    is_whole(&home);
    // This server has no other protocol to offer, so that all of this came over HTTP/2.
    let paths = server.paths();
    assert_eq!(paths.first(), Some(&list()));
    assert_eq!(paths.last(), Some(&crate::release::tarball()));
}

#[test]
fn room_for_descriptors_is_made_before_the_client_starts_threads() {
    let (ask, asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel::<()>();
    let gate = Mutex::new((ask, answered));
    let server = Server::new(move |_| {
        let gate = gate.lock().unwrap();
        gate.0.send(()).ok();
        gate.1.recv().ok();
        Response::status(404)
    });
    let home = Home::with_mirror(&server.url());
    let (mut shell, pid) = with_few_descriptors(&home.command(["pull", "alpine:3.20"]));
    asked.recv().unwrap();
    let (threads, room) = (status(pid, "Threads"), status(pid, "FDSize"));
    drop(answer);
    shell.wait().unwrap();
    assert!(threads > 1);
    // A layer's tree needs more than there are at first, and threads that share a table wait while it grows.
    assert!(room >= 256, "a table for {room} descriptors");
}
