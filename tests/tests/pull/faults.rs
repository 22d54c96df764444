//! Servers that fail temporarily, permanently, or on purpose.

use box_tests::Home;
use box_tests::server::{Body, Response, Server};

use crate::release::{
    self, PULL, bytes, is_empty, is_whole, list, list_text, size, tarball, whole,
};

/// A home that pulls from a server on which `script` answers requests for the tarball, given their number so far.
fn pulling(script: impl Fn(usize) -> Option<Response> + Send + Sync + 'static) -> (Server, Home) {
    let path = tarball();
    let server = Server::scripted(move |request, nth| match request.path == path {
        true => script(nth),
        false => None,
    });
    let home = Home::with_mirror(&server.url());
    (server, home)
}

fn asked_for_tarball(server: &Server) -> Vec<box_tests::server::Request> {
    let mut requests = server.requests();
    requests.retain(|request| request.path == tarball());
    requests
}

#[test]
fn a_dropped_connection_is_continued_where_it_broke() {
    let (server, home) = pulling(|nth| (nth == 0).then(|| whole().drop_after(1_000_000)));
    home.run(PULL).succeeds();
    is_whole(&home);
    let asked = asked_for_tarball(&server);
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].header("if-range"), Some("\"one\""));
    let range = asked[1].header("range").unwrap();
    let start: u64 = range
        .trim_start_matches("bytes=")
        .trim_end_matches('-')
        .parse()
        .unwrap();
    assert!((1..=1_000_000).contains(&start), "{range}");
}

#[test]
fn a_server_that_drops_again_and_again_is_outlasted_while_bytes_come() {
    let step = 400_000;
    let server = Server::scripted(move |request, _| {
        let from = request.header("range").map_or(0, |range| {
            range
                .trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .unwrap()
        });
        let answer = || match from {
            0 => whole(),
            from => release::rest(from),
        };
        (request.path == tarball()).then(|| answer().drop_after(step))
    });
    let home = Home::with_mirror(&server.url());
    home.run(PULL).succeeds();
    is_whole(&home);
    assert!(asked_for_tarball(&server).len() as u64 > size() / step);
}

#[test]
fn a_stalled_transfer_is_given_up_and_continued() {
    let (server, home) = pulling(|nth| (nth == 0).then(|| whole().stall_after(1_000_000)));
    let outcome = home.run(PULL).succeeds();
    assert!(
        outcome.stderr.contains("received nothing for 1 s"),
        "{}",
        outcome.stderr
    );
    is_whole(&home);
    assert!(asked_for_tarball(&server)[1].header("range").is_some());
}

#[test]
fn a_server_that_always_drops_is_given_up() {
    let (server, home) = pulling(|_| Some(whole().drop_after(0)));
    home.run(PULL).fails(&[
        "cannot fetch",
        &server.url(),
        "the connection broke",
        "(3 times)",
    ]);
    is_empty(&home);
    assert_eq!(asked_for_tarball(&server).len(), 3);
}

#[test]
fn a_wrong_length_is_found_before_anything_is_fetched() {
    for length in [size() - 1, size() + 1, 1 << 50] {
        let (_server, home) =
            pulling(move |_| Some(whole().header("Content-Length", length.to_string())));
        let (expected, actual) = (size().to_string(), length.to_string());
        home.run(PULL).fails(&["wrong size", &expected, &actual]);
        is_empty(&home);
    }
}

#[test]
fn more_bytes_than_promised_are_not_taken() {
    let (_server, home) = pulling(|_| {
        let mut long = bytes();
        long.extend([0; 4096]);
        Some(
            Response::new(long)
                .without_length()
                .header("Connection", "close"),
        )
    });
    home.run(PULL).fails(&["too long", &size().to_string()]);
    is_empty(&home);
}

#[test]
fn fewer_bytes_than_promised_are_not_enough() {
    let (_server, home) = pulling(|_| {
        let short = bytes()[..1000].to_vec();
        Some(
            Response::new(short)
                .without_length()
                .header("Connection", "close"),
        )
    });
    home.run(PULL)
        .fails(&["truncated", "1000", &size().to_string()]);
    is_empty(&home);
}

#[test]
fn an_endless_list_is_cut_off() {
    let server = Server::scripted(|request, _| {
        let endless = || Response::with(200, Body::Zeros(1 << 40)).without_length();
        (request.path == list()).then(endless)
    });
    let home = Home::with_mirror(&server.url());
    home.run(PULL)
        .fails(&["latest-releases.yaml", "too long", "1048576"]);
    is_empty(&home);
}

#[test]
fn one_flipped_bit_is_found() {
    let (_server, home) = pulling(|_| Some(whole().corrupt_at(size() - 9)));
    let expected = format!("sha256:{}", release::hex(&bytes()));
    home.run(PULL)
        .fails(&["wrong content", "expected", &expected, "got sha256:"]);
    is_empty(&home);
}

#[test]
fn a_bit_flipped_in_the_middle_is_no_failure_of_unpacking() {
    let (_server, home) = pulling(|_| Some(whole().corrupt_at(100_000)));
    home.run(PULL).fails(&["wrong content", "expected sha256:"]);
    is_empty(&home);
}

#[test]
fn a_second_mirror_has_what_the_first_one_spoils() {
    let (spoiling, _) = pulling(|_| Some(whole().corrupt_at(7)));
    let good = Server::mirror();
    let home = Home::with_mirror(&format!("{},{}", spoiling.url(), good.url()));
    home.run(PULL).succeeds();
    is_whole(&home);
    let url = home
        .run(["inspect", "alpine:3.20"])
        .succeeds()
        .text()
        .to_owned();
    assert!(
        url.contains(&good.url()) && !url.contains(&spoiling.url()),
        "{url}"
    );
}

#[test]
fn every_try_is_told() {
    let (broken, _) = pulling(|_| Some(Response::status(503)));
    let absent =
        Server::scripted(|request, _| (request.path == tarball()).then(|| Response::status(404)));
    let home = Home::with_mirror(&format!(
        "{},{},http://127.0.0.1:1",
        broken.url(),
        absent.url()
    ));
    home.run(PULL).fails(&[
        &format!(
            "{}{}: the server answered 503 Service Unavailable (3 times)",
            broken.url(),
            tarball()
        ),
        &format!("{}{}: not found", absent.url(), tarball()),
        "http://127.0.0.1:1/",
        "connection refused",
    ]);
    is_empty(&home);
}

#[test]
fn a_circle_of_redirections_ends() {
    let (_server, home) = pulling(|_| Some(Response::redirect(tarball())));
    home.run(PULL).fails(&["more than 10 redirections"]);
    is_empty(&home);
}

#[test]
fn a_redirection_is_followed() {
    let good = Server::mirror();
    let target = good.url() + &tarball();
    let (_server, home) = pulling(move |_| Some(Response::redirect(target.clone())));
    home.run(PULL).succeeds();
    is_whole(&home);
}

#[test]
fn a_redirection_to_a_file_is_refused() {
    for target in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://",
        "http://x\u{1b}[31m/",
    ] {
        let (_server, home) = pulling(move |_| Some(Response::redirect(target)));
        home.run(PULL).fails(&["cannot fetch"]);
        is_empty(&home);
    }
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    for (status, after) in [
        (429, "0"),
        (503, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (429, "1"),
    ] {
        let (server, home) = pulling(move |nth| {
            (nth == 0).then(|| Response::status(status).header("Retry-After", after))
        });
        let outcome = home.run(PULL).succeeds();
        assert!(
            outcome.stderr.contains(&format!("{status}")),
            "{}",
            outcome.stderr
        );
        is_whole(&home);
        assert_eq!(asked_for_tarball(&server).len(), 2);
    }
}

#[test]
fn a_server_that_wants_to_be_left_alone_for_an_hour_is() {
    let (server, home) = pulling(|_| Some(Response::status(429).header("Retry-After", "3600")));
    home.run(PULL).fails(&["429 Too Many Requests"]);
    assert_eq!(asked_for_tarball(&server).len(), 1);
}

#[test]
fn a_web_page_is_no_release() {
    let page =
        || Response::new("<!DOCTYPE html><html>Sign in</html>").header("Content-Type", "text/html");
    let (_server, home) = pulling(move |_| Some(page()));
    home.run(PULL).fails(&["wrong size", "(an HTML page)"]);
    is_empty(&home);
    let server = Server::new(move |_| page());
    let home = Home::with_mirror(&server.url());
    home.run(PULL).fails(&[
        "latest-releases.yaml",
        "expected a YAML list, got an HTML page",
    ]);
    home.run(["pull", "alpine:3.20.3"])
        .fails(&["expected a checksum, got an HTML page"]);
    is_empty(&home);
}

#[test]
fn what_a_server_says_never_reaches_the_terminal_as_it_is() {
    let server = Server::scripted(|request, _| {
        let evil = || {
            list_text().replace(
                "version: 3.20.3",
                "version: \"\\e]0;owned\\a\\e[31m3.20.3\"",
            )
        };
        (request.path == list()).then(|| Response::new(evil()))
    });
    let home = Home::with_mirror(&server.url());
    // `fails` looks for control characters.
    home.run(PULL)
        .fails(&["version of alpine-minirootfs is", "\\u{1b}"]);
    let debug = home.run(["--debug", "pull", "alpine:3.20"]).exits(125);
    assert!(!debug.stderr.contains('\u{1b}'), "{:?}", debug.stderr);
}
